#!/bin/sh
# Create a key pair for signing content: new-key.sh SLOT (1 or 2). The private key goes into the secret of the stack and
# nowhere else, the public key into the stack. With --sign, that slot signs from then on.
set -eu

slot=${1:?new-key.sh SLOT [--sign]: 1 or 2, the slot that does not sign now}
case $slot in 1 | 2) ;; *) echo "SLOT must be 1 or 2." >&2; exit 2 ;; esac
stack=${STACK:-amalga}
here=$(dirname "$0")

stack_value() { # stack_value KIND KEY VALUE KEYNAME: print one value of the stack
    aws cloudformation describe-stacks --stack-name "$stack" \
        --query "Stacks[0].$1[?$2=='$3'].$4 | [0]" --output text
}
if [ "$(stack_value Parameters ParameterKey "ContentKey$slot" ParameterValue)" ]; then
    echo "Slot $slot already has a key. Remove it first (stack.sh ContentKey$slot=), when nothing is signed with it any more." >&2
    exit 1
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
umask 077
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$folder/private.pem" 2>/dev/null
openssl pkey -in "$folder/private.pem" -pubout -out "$folder/public.pem"
aws secretsmanager put-secret-value --secret-id "$(stack_value Outputs OutputKey "KeySecret$slot" OutputValue)" \
    --secret-string "file://$folder/private.pem" --query VersionId --output text

if [ "${2:-}" = --sign ]; then
    "$here/stack.sh" "ContentKey$slot=$(cat "$folder/public.pem")" "ContentSigner=$slot"
else
    "$here/stack.sh" "ContentKey$slot=$(cat "$folder/public.pem")"
fi
