-- Run by the Postgres image as superuser when it creates the database: the two logins of the application. One owns the
-- tables and migrates; the other uses the rows, with the permissions of `manage.py database_login`. Neither can change past
-- entries of the audit log, run programs, or read files of the host.
\set owner_password `cat /secrets/OWNER_PASSWORD`
\set app_password `cat /secrets/APP_PASSWORD`

CREATE ROLE amalga_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
CREATE ROLE amalga LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'app_password';
ALTER DATABASE :DBNAME OWNER TO amalga_owner;
REVOKE ALL ON DATABASE :DBNAME FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :DBNAME TO amalga;
