#!/bin/sh
# Draws a key pair for signing content: new-key.sh SLOT (1 or 2). The private half goes into the stack's secret and stays
# nowhere else; the public half into the stack. With --sign, that slot signs from then on.
set -eu

slot=${1:?new-key.sh SLOT [--sign]: 1 or 2, the slot that does not sign now}
case $slot in 1 | 2) ;; *) echo "SLOT is 1 or 2." >&2; exit 2 ;; esac
stack=${STACK:-amalga}
here=$(dirname "$0")

told() { # told KIND KEY VALUE KEYNAME: one value of the stack
    aws cloudformation describe-stacks --stack-name "$stack" \
        --query "Stacks[0].$1[?$2=='$3'].$4 | [0]" --output text
}
if [ "$(told Parameters ParameterKey "ContentKey$slot" ParameterValue)" ]; then
    echo "Slot $slot holds a key. Take it out first (stack.sh ContentKey$slot=), when nothing is signed with it any more." >&2
    exit 1
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
umask 077
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$folder/private.pem" 2>/dev/null
openssl pkey -in "$folder/private.pem" -pubout -out "$folder/public.pem"
aws secretsmanager put-secret-value --secret-id "$(told Outputs OutputKey "KeySecret$slot" OutputValue)" \
    --secret-string "file://$folder/private.pem" --query VersionId --output text

if [ "${2:-}" = --sign ]; then
    "$here/stack.sh" "ContentKey$slot=$(cat "$folder/public.pem")" "ContentSigner=$slot"
else
    "$here/stack.sh" "ContentKey$slot=$(cat "$folder/public.pem")"
fi
