"""The PostgreSQL driver: any number of servers on one database, each equal to the others (docs/adr/0019)."""
