-- Run by the image of Postgres when it makes the database, as its superuser: the two logins of the application. One owns the
-- tables and migrates; the other uses the rows, by the rights that `manage.py database_login` gives it. Neither can change
-- what the activity log says of the past, run programs, or read files of the host.
\set owner_password `cat /secrets/OWNER_PASSWORD`
\set app_password `cat /secrets/APP_PASSWORD`

CREATE ROLE amalga_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
CREATE ROLE amalga LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'app_password';
ALTER DATABASE :DBNAME OWNER TO amalga_owner;
REVOKE ALL ON DATABASE :DBNAME FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :DBNAME TO amalga;
