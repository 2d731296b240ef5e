#!/bin/sh
# Certificates for a Dask cluster across hosts: an authority of its own, and one key pair for each name.
#
#   sh make-certificates.sh FOLDER scheduler worker client
#
# Run again with more names, it keeps the authority that lies in FOLDER. Keys are readable by their owner only; ca-key.pem is the one
# to guard: who has it can join the cluster and run any code there.
set -eu
umask 077

[ $# -ge 2 ] || { echo "usage: make-certificates.sh FOLDER NAME..." >&2; exit 2; }
folder=$1
shift
mkdir -p "$folder"
cd "$folder"

if [ ! -e ca.pem ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days 3650 -subj "/CN=nwidth cluster authority" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca-key.pem -out ca.pem 2>/dev/null
fi

# Python 3.13 refuses certificates without key identifiers.
cat > extensions.tmp <<END
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
END
for name in "$@"; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$name-key.pem" -out request.tmp 2>/dev/null
  openssl x509 -req -in request.tmp -CA ca.pem -CAkey ca-key.pem -CAcreateserial -CAserial serial.tmp -sha256 -days 365 \
    -extfile extensions.tmp -out "$name.pem" 2>/dev/null
  echo "$folder/$name.pem"
done
rm -f request.tmp extensions.tmp serial.tmp
