package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// tlsConfig reads the certificates. It returns nil when none are configured.
func (c ListenConfig) tlsConfig() (cfg *tls.Config, problems []*FieldError) {
	add := func(field string, err error) { problems = append(problems, &FieldError{Field: field, Err: err}) }
	switch {
	case c.TLSCert == "" && c.TLSKey == "" && c.TLSClientCA == "":
		return nil, nil
	case c.TLSCert == "" && c.TLSKey == "":
		add("tls_client_ca", errors.New("it needs tls_cert and tls_key, with which the server identifies itself"))
		return nil, problems
	case c.TLSCert == "":
		add("tls_key", errors.New("it needs tls_cert, the certificate of this key"))
		return nil, problems
	case c.TLSKey == "":
		add("tls_cert", errors.New("it needs tls_key, the private key of this certificate"))
		return nil, problems
	}
	read := func(field, path string) []byte {
		content, err := os.ReadFile(path)
		if err != nil {
			add(field, err)
		}
		return content
	}
	cert, key := read("tls_cert", c.TLSCert), read("tls_key", c.TLSKey)
	cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLSClientCA != "" {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if pem := read("tls_client_ca", c.TLSClientCA); pem != nil && !cfg.ClientCAs.AppendCertsFromPEM(pem) {
			add("tls_client_ca", fmt.Errorf("%s holds no certificate in PEM form", c.TLSClientCA))
		}
	}
	if cert != nil && key != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			add("tls_cert", fmt.Errorf("%s and %s are not a certificate and its private key in PEM form: %w",
				c.TLSCert, c.TLSKey, err))
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, problems
}
