package bundle

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
)

// signatureLine begins the last line of a signed text. It is a comment to every
// reader of YAML.
const signatureLine = "# trivet-signature: " + signerPrefix

// maxText bounds what Verify reads, in bytes: a description has at most 1 MiB.
const maxText = 1<<20 + 256

// Sign returns text with the line `# trivet-signature: ed25519:BASE64` at its
// end: the signature of all bytes before that line (RFC 8032). If text ends in
// such a line already, the new one takes its place. A text without a line break
// at its end gets one.
func Sign(text []byte, key ed25519.PrivateKey) []byte {
	body, _, _ := splitSignature(text)
	body = bytes.Clone(body)
	if len(body) > 0 && body[len(body)-1] != '\n' {
		body = append(body, '\n')
	}
	signature := ed25519.Sign(key, body)
	return fmt.Appendf(body, "%s%s\n", signatureLine, base64.StdEncoding.EncodeToString(signature))
}

// Verify answers whether text ends in the signer's signature, and returns what
// it signed: the bytes before that line. Use nothing else of text.
func Verify(text []byte, signer ed25519.PublicKey) (body []byte, err error) {
	switch {
	case len(signer) != ed25519.PublicKeySize:
		return nil, errors.New("verify the signature: there is no signer's public key")
	case len(text) > maxText:
		return nil, fmt.Errorf("verify the signature: the text has %d bytes, more than %d", len(text), maxText)
	}
	body, signature, found := splitSignature(text)
	if !found {
		return nil, fmt.Errorf("verify the signature: the last line is not %s…; the text is not signed, or was cut", signatureLine)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(string(signature))
	if err != nil || len(raw) != ed25519.SignatureSize || bytes.ContainsRune(signature, '\r') {
		return nil, fmt.Errorf("verify the signature: the last line has no %d bytes in base64; it was cut or altered", ed25519.SignatureSize)
	}
	if !ed25519.Verify(signer, body, raw) {
		return nil, fmt.Errorf("verify the signature: the text was altered, or another than %s signed it", FormatSigner(signer))
	}
	return body, nil
}

// splitSignature parts text before its last line, if that is a signature. A
// line break at the very end may be missing: some channels trim it.
func splitSignature(text []byte) (body, signature []byte, found bool) {
	last := bytes.TrimSuffix(text, []byte("\n"))
	at := bytes.LastIndexByte(last, '\n') + 1
	rest, found := bytes.CutPrefix(last[at:], []byte(signatureLine))
	if !found {
		return text, nil, false
	}
	return text[:at:at], rest, true
}
