package workspace

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/sockerless/backend-azf/internal/azuretest"
)

// An account of its own: for the account that Azurite has by itself, Terraform signs as an older emulator required.
const (
	azuriteAccount = "citerraform"
	azuriteKey     = "dGhpcyBrZXkgaXMgZm9yIHRlc3RzIG9ubHkgYW5kIG9wZW5zIG5vdGhpbmcgYXQgYWxsLCBhbnl3aGVyZSE="
	azuriteHost    = azuriteAccount + ".blob.core.windows.net"
)

// azurite is Microsoft's emulator of Azure Storage, in the place of the real one: over TLS, under its public name,
// behind a proxy.
type azurite struct {
	proxy  string // URL of a proxy that connects the public name with the emulator
	caFile string // holds the certificate of its authority
	client *container.Client
}

func startAzurite(t *testing.T) azurite {
	t.Helper()
	npm := azuretest.NeedsProgram(t, "npm")
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/azurite")); err != nil {
		t.Fatal(err)
	}
	install := exec.CommandContext(t.Context(), npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	caFile, cert, key := azuriteCertificate(t, dir)
	cmd := exec.Command(
		"node",
		"node_modules/azurite/dist/src/blob/main.js",
		"--blobHost",
		"127.0.0.1",
		"--blobPort",
		"0",
		"--inMemoryPersistence",
		"--skipApiVersionCheck",
		"--disableTelemetry",
		"--cert",
		cert,
		"--key",
		key,
	)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+azuriteAccount+":"+azuriteKey)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		listening := regexp.MustCompile(`listen(?:ing|s) (?:at|on) https://(\S+)`)
		var output string
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			output += lines.Text() + "\n"
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				address <- m[1]
			}
		}
		_ = cmd.Wait() // it is killed
		t.Log(output)
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	var a azurite
	select {
	case at := <-address:
		a = azurite{proxy: proxyTo(t, at), caFile: caFile}
	case <-ended:
		t.Fatal("Azurite did not start")
	}
	credential, err := azblob.NewSharedKeyCredential(azuriteAccount, azuriteKey)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots.AppendCertsFromPEM(ca)
	proxyURL, err := url.Parse(a.proxy)
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = http.ProxyURL(proxyURL)
	transport.TLSClientConfig.RootCAs = roots
	t.Cleanup(transport.CloseIdleConnections)
	a.client, err = container.NewClientWithSharedKeyCredential(
		"https://"+azuriteHost+"/states",
		credential,
		&container.ClientOptions{
			ClientOptions: azcore.ClientOptions{Transport: &http.Client{Transport: transport}},
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.client.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return a
}

// azuriteCertificate creates an authority and a certificate for the public name of the account.
func azuriteCertificate(t *testing.T, dir string) (caFile, certFile, keyFile string) {
	t.Helper()
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of the test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey, caErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	key, keyErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(caErr, keyErr); err != nil {
		t.Fatal(err)
	}
	ca, err := x509.CreateCertificate(rand.Reader, &template, &template, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf := template
	leaf.SerialNumber, leaf.Subject.CommonName, leaf.IsCA, leaf.KeyUsage = big.NewInt(
		2,
	), "azurite", false, x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage, leaf.DNSNames = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []string{azuriteHost}
	cert, err := x509.CreateCertificate(rand.Reader, &leaf, &template, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write(
			"ca.pem",
			"CERTIFICATE",
			ca,
		), write(
			"cert.pem",
			"CERTIFICATE",
			cert,
		), write(
			"key.pem",
			"PRIVATE KEY",
			keyDER,
		)
}

// proxyTo starts a proxy that connects the account's public name with an address and refuses all other names. It
// returns its URL.
func proxyTo(t *testing.T, address string) string {
	t.Helper()
	var tunnels sync.WaitGroup
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != azuriteHost+":443" {
			http.Error(w, "only for "+azuriteHost, http.StatusForbidden)
			return
		}
		up, err := net.Dial("tcp", address)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		down, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n")
		for _, pair := range [][2]net.Conn{{up, down}, {down, up}} {
			tunnels.Go(func() {
				_, _ = io.Copy(pair[0], pair[1]) // until one side ends
				_ = pair[0].Close()
			})
		}
	}))
	t.Cleanup(func() {
		proxy.Close()
		tunnels.Wait()
	})
	return proxy.URL
}
