#!/bin/sh
# Make the secrets that compose.yaml reads, each in a file of ./secrets; a file that is there stays as it is.
# Only you can enter the folder. The files themselves can be read by the services' users, whose numbers differ from yours.
set -eu
folder=${1:-secrets}
mkdir -p "$folder"
chmod 700 "$folder"
make() {
  [ -s "$folder/$1" ] && return
  od -An -tx1 -N "$2" /dev/urandom | tr -d ' \n' > "$folder/$1"
  chmod 644 "$folder/$1"
  echo "made $folder/$1"
}
for name in postgres_password robopref_database_password label_studio_database_password label_studio_password \
            service_password webhook_secret console_secret; do
  make "$name" 24
done
make label_studio_token 20 # Label Studio takes 40 hexadecimal digits
