#!/bin/sh
# A role and a database each for Robopref and for Label Studio, and the passwords that the secrets hold now.
# compose.yaml runs it before anything else, at every start: what exists stays.
set -eu
secrets=${SECRETS:-/run/secrets}
for name in postgres_password robopref_database_password label_studio_database_password; do
  [ -s "$secrets/$name" ] || { echo "roles: secrets/$name is missing or empty: deploy/secrets.sh makes it." >&2; exit 2; }
done
PGPASSWORD=$(cat "$secrets/postgres_password")
export PGPASSWORD
if ! said=$(psql --quiet --no-psqlrc --command "" 2>&1); then
  case $said in
    *"authentication failed"*)
      echo "roles: the database refuses secrets/postgres_password: it keeps the one of its first start." >&2 ;;
    *) echo "roles: $said" >&2 ;;
  esac
  exit 2
fi
for who in robopref label_studio; do
  psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --set who="$who" --set file="$secrets/${who}_database_password" <<'SQL'
\set password `cat :'file'`
SELECT format('CREATE ROLE %I LOGIN', :'who') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'who') \gexec
ALTER ROLE :"who" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'who', :'who')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'who') \gexec
REVOKE ALL ON DATABASE :"who" FROM PUBLIC;
SQL
done
echo "roles: robopref and label_studio are there."
