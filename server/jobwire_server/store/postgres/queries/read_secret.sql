SELECT value FROM secret WHERE purpose = %(purpose)s::text
