"""Programs that write pages from code: the reference of docs/ is generated, so that it cannot disagree with it."""
