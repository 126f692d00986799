SELECT value FROM secret WHERE purpose = :purpose
