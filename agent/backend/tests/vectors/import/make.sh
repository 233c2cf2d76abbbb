#!/bin/bash
# Makes the key files of this folder anew: throwaway keys as OpenSSL, OpenSSH, cryptography and
# securesystemslib write them, and manifest.tsv. Run by hand, not by the tests.
# Needs openssl 3, ssh-keygen, and two Python environments:
#   NEW: pip install 'securesystemslib[crypto]'
#   OLD: pip install 'securesystemslib[crypto,pynacl]==0.28.0' cryptography==41.0.7   (the last lines with its own encryption)
# use: NEW=/path/to/python OLD=/path/to/python ./make.sh
set -euo pipefail
cd "$(dirname "$0")"
rm -f ./*.pem ./*.key ./*.json ./*.der manifest.tsv
pass=correct-horse
note() { # file, expectation, passphrase or -; the fingerprint by OpenSSL where it can read the file
  local fingerprint=-
  if [ -f "$4" ]; then
    fingerprint=$(openssl pkey -in "$4" ${5:+-passin "pass:$5"} -pubout -outform DER 2>/dev/null | sha256sum | cut -d' ' -f1)
  elif [ -n "$4" ]; then fingerprint=$4; fi
  printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$fingerprint" >> manifest.tsv
}
printf '# file\ttype or error\tpassphrase or -\tSHA-256 of the SPKI DER, or -\n' > manifest.tsv

openssl genpkey -quiet -algorithm ed25519 -out ed25519.pem
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ecdsa-p256.pem
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out ecdsa-p384.pem
for bits in 2048 3072 4096; do openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:$bits -out rsa-$bits.pem; done
openssl genpkey -quiet -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out rsa-pss-2048.pem
for type in ed25519 ecdsa-p256 ecdsa-p384 rsa-2048 rsa-3072 rsa-4096; do
  note $type.pem $type - $type.pem ""
  openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:$pass -in $type.pem -out $type.pbkdf2-aes256.pem
  openssl pkcs8 -topk8 -v2 aes-128-cbc -v2prf hmacWithSHA1 -passout pass:$pass -in $type.pem -out $type.pbkdf2-sha1-aes128.pem
  openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA512 -passout pass:$pass -in $type.pem -out $type.pbkdf2-sha512-aes256.pem
  openssl pkcs8 -topk8 -scrypt -v2 aes-256-cbc -passout pass:$pass -in $type.pem -out $type.scrypt-aes256.pem
  for form in pbkdf2-aes256 pbkdf2-sha1-aes128 pbkdf2-sha512-aes256 scrypt-aes256; do note $type.$form.pem $type $pass $type.pem ""; done
done
for type in ecdsa-p256 ecdsa-p384 rsa-2048 rsa-3072; do
  openssl pkey -traditional -in $type.pem -out $type.traditional.pem
  note $type.traditional.pem $type - $type.pem ""
  for cipher in aes-128-cbc aes-192-cbc aes-256-cbc; do
    openssl pkey -traditional -in $type.pem -$cipher -passout pass:$pass -out $type.traditional-$cipher.pem
    note $type.traditional-$cipher.pem $type $pass $type.pem ""
  done
done
openssl pkey -traditional -in rsa-2048.pem -des3 -passout pass:$pass -out rsa-2048.traditional-des3.pem
note rsa-2048.traditional-des3.pem UnsupportedEncryption $pass "" ""
openssl pkcs8 -topk8 -v2 des3 -v2prf hmacWithSHA1 -passout pass:$pass -in rsa-2048.pem -out rsa-2048.pbkdf2-sha1-des3.pem
note rsa-2048.pbkdf2-sha1-des3.pem rsa-2048 $pass rsa-2048.pem ""
openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -passout pass:$pass -in rsa-2048.pem -out rsa-2048.pbes1.pem
note rsa-2048.pbes1.pem UnsupportedEncryption $pass "" ""
openssl ecparam -name prime256v1 -genkey -out ecparam-p256.pem
note ecparam-p256.pem ecdsa-p256 - ecparam-p256.pem ""
sed 's/$/\r/' ecparam-p256.pem > ecparam-p256.crlf.pem
note ecparam-p256.crlf.pem ecdsa-p256 - ecparam-p256.pem ""
{ echo 'Bag Attributes'; echo '    friendlyName: mine'; cat ecdsa-p256.pem; } > ecdsa-p256.bag.pem
note ecdsa-p256.bag.pem ecdsa-p256 - ecdsa-p256.pem ""
openssl pkey -in ecdsa-p256.pem -ec_conv_form compressed -out ecdsa-p256.compressed.pem
note ecdsa-p256.compressed.pem ecdsa-p256 - ecdsa-p256.pem ""
openssl ec -in ecdsa-p256.pem -no_public -out ecdsa-p256.no-public.pem 2>/dev/null
note ecdsa-p256.no-public.pem ecdsa-p256 - ecdsa-p256.pem ""

# what cannot be used
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out bad-p521.pem
openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out bad-secp256k1.pem
openssl genpkey -quiet -algorithm ed448 -out bad-ed448.pem
openssl genpkey -quiet -algorithm x25519 -out bad-x25519.pem
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out bad-rsa-1024.pem
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:5120 -out bad-rsa-5120.pem
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2560 -out rsa-2560.pem
note rsa-2560.pem rsa-2048 - rsa-2560.pem "" # a size between belongs to the type below it
for name in p521 secp256k1 ed448 x25519 rsa-1024 rsa-5120; do note bad-$name.pem UnsupportedKey - "" ""; done
openssl pkey -in ecdsa-p256.pem -pubout -out bad-public.pem; note bad-public.pem NotAKey - "" ""
openssl pkey -in ecdsa-p256.pem -outform DER -out bad-binary.der; note bad-binary.der NotAKey - "" ""
ssh-keygen -q -t ed25519 -N '' -C throwaway -f bad-openssh.key; rm bad-openssh.key.pub; note bad-openssh.key NotAKey - "" ""
cat ed25519.pem ecdsa-p256.pem > bad-two-keys.pem; note bad-two-keys.pem SeveralKeys - "" ""
head -c 100 rsa-2048.pem > bad-cut.pem; note bad-cut.pem Damaged - "" ""

"$NEW" - "$pass" <<'PY'
import hashlib, sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from securesystemslib.signer import CryptoSigner
password = sys.argv[1].encode()
manifest = open("manifest.tsv", "a")
def write(name, kind, private, form, encryption, passphrase):
    open(name, "wb").write(private.private_bytes(s.Encoding.PEM, form, encryption))
    spki = private.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    manifest.write(f"{name}\t{kind}\t{passphrase}\t{hashlib.sha256(spki).hexdigest()}\n")
keys = {"ed25519": ed25519.Ed25519PrivateKey.generate(), "ecdsa-p256": ec.generate_private_key(ec.SECP256R1()),
        "ecdsa-p384": ec.generate_private_key(ec.SECP384R1()), "rsa-2048": rsa.generate_private_key(65537, 2048)}
for kind, key in keys.items():
    best = s.BestAvailableEncryption(password)
    write(f"cryptography-{kind}.pem", kind, key, s.PrivateFormat.PKCS8, s.NoEncryption(), "-")
    write(f"cryptography-{kind}.encrypted.pem", kind, key, s.PrivateFormat.PKCS8, best, password.decode())
    if kind != "ed25519":
        write(f"cryptography-{kind}.traditional.pem", kind, key, s.PrivateFormat.TraditionalOpenSSL, s.NoEncryption(), "-")
        write(f"cryptography-{kind}.traditional-encrypted.pem", kind, key, s.PrivateFormat.TraditionalOpenSSL, best, password.decode())
# Restricted to PSS by its algorithm; its public key is written as every RSA key is in TUF metadata.
public = s.load_pem_private_key(open("rsa-pss-2048.pem", "rb").read(), None).public_key()
spki = rsa.RSAPublicNumbers(public.public_numbers().e, public.public_numbers().n).public_key().public_bytes(
    s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
manifest.write(f"rsa-pss-2048.pem\trsa-2048\t-\t{hashlib.sha256(spki).hexdigest()}\n")
for kind, signer in {"ed25519": CryptoSigner.generate_ed25519(), "ecdsa-p256": CryptoSigner.generate_ecdsa(),
                     "rsa-3072": CryptoSigner.generate_rsa()}.items():
    name = f"securesystemslib-{kind}.pem"
    open(name, "wb").write(signer.private_bytes)
    key = s.load_pem_private_key(signer.private_bytes, None)
    spki = key.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    manifest.write(f"{name}\t{kind}\t-\t{hashlib.sha256(spki).hexdigest()}\n")
PY
"$OLD" - "$pass" <<'PY'
import hashlib, json, os, sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ed25519
from securesystemslib import interface, keys
password = sys.argv[1]
manifest = open("manifest.tsv", "a")
def note(name, kind, passphrase, public):
    spki = public.public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    manifest.write(f"{name}\t{kind}\t{passphrase}\t{hashlib.sha256(spki).hexdigest()}\n")
def public_of(key):
    if key["keytype"] == "ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["keyval"]["public"]))
    return s.load_pem_public_key(key["keyval"]["public"].encode())
def drop(name):
    os.remove(name + ".pub")
name = "securesystemslib-0.28-ed25519.encrypted.key"
interface._generate_and_write_ed25519_keypair(filepath=name, password=password)
note(name, "ed25519", password, public_of(interface.import_ed25519_privatekey_from_file(name, password))); drop(name)
name = "securesystemslib-0.28-ecdsa.encrypted.key"
interface._generate_and_write_ecdsa_keypair(filepath=name, password=password)
note(name, "ecdsa-p256", password, public_of(interface.import_ecdsa_privatekey_from_file(name, password))); drop(name)
name = "securesystemslib-0.28-rsa.encrypted.pem"
interface._generate_and_write_rsa_keypair(filepath=name, password=password, bits=2048)
note(name, "rsa-2048", password, public_of(interface.import_rsa_privatekey_from_file(name, password))); drop(name)
name = "securesystemslib-0.28-ed25519.json"
interface._generate_and_write_ed25519_keypair(filepath=name, password=None)
note(name, "ed25519", "-", public_of(json.load(open(name)))); drop(name)
for kind, key in {"ecdsa-p256": keys.generate_ecdsa_key(), "rsa-2048": keys.generate_rsa_key(2048)}.items():
    name = f"securesystemslib-0.28-{kind}.json"
    json.dump({"keytype": key["keytype"], "scheme": key["scheme"], "keyval": key["keyval"]}, open(name, "w"))
    note(name, kind, "-", public_of(key))
other = keys.generate_ed25519_key()
mixed = json.load(open("securesystemslib-0.28-ed25519.json")); mixed["keyval"]["public"] = other["keyval"]["public"]
json.dump(mixed, open("bad-mixed.json", "w")); manifest.write("bad-mixed.json\tDamaged\t-\t-\n")
json.dump({"keytype": "ed25519", "keyval": {"public": other["keyval"]["public"]}}, open("bad-public.json", "w"))
manifest.write("bad-public.json\tNotAKey\t-\t-\n")
PY
chmod 644 ./*
chmod 755 make.sh
