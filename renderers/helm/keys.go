package main

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"

	"github.com/Masterminds/sprig/v3"

	"towline.dev/renderers/guest"
)

// The size of the RSA keys that sprig's genPrivateKey makes, in bits.
const rsaBits = 4096

var others = sprig.TxtFuncMap()["genPrivateKey"].(func(string) string)

// genPrivateKey is sprig's function. The host finds the primes of an RSA key, because the arithmetic of Go in WebAssembly
// takes half a minute for them. The keys of certificates have 2048 bits, and take a second.
func genPrivateKey(kind string) string {
	if kind != "" && kind != "rsa" {
		return others(kind)
	}
	key, err := rsaKey()
	if err != nil {
		return fmt.Sprintf("failed to generate private key: %s", err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return string(pem.EncodeToMemory(block))
}

// rsaKey makes a key as FIPS 186-5, appendix A.1.1 says, with the usual exponent.
func rsaKey() (*rsa.PrivateKey, error) {
	const e = 65537
	one := big.NewInt(1)
	for {
		p, q := new(big.Int).SetBytes(guest.Prime(rsaBits/2)), new(big.Int).SetBytes(guest.Prime(rsaBits/2))
		n := new(big.Int).Mul(p, q)
		below := func(prime *big.Int) *big.Int { return new(big.Int).Sub(prime, one) }
		product := new(big.Int).Mul(below(p), below(q))
		common := new(big.Int).GCD(nil, nil, below(p), below(q))
		d := new(big.Int).ModInverse(big.NewInt(e), product.Div(product, common))
		// There is no inverse where e divides p-1 or q-1.
		if d == nil || p.Cmp(q) == 0 {
			continue
		}
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: e}, D: d, Primes: []*big.Int{p, q}}
		key.Precompute()
		return key, key.Validate()
	}
}
