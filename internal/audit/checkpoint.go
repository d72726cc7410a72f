package audit

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// originPrefix begins the first line of a checkpoint.
const originPrefix = "sockerless-backend-azf/"

// Checkpoint is the state of a trail at one moment. Its text is that of C2SP's tlog-checkpoint: origin, size and root
// hash, each on a line of its own, and signatures in the form of the note package.
type Checkpoint struct {
	Log  string // the id of the trail
	Size int64
	Root Hash
}

// Key signs checkpoints. It belongs to one state folder.
type Key struct {
	signer note.Signer
	// Public is the verifier key, as the note package writes it.
	Public string
}

// keyFile holds the private key of a state folder, and publicKeyFile the public one.
const (
	keyFile       = "audit.key"
	publicKeyFile = "audit.pub"
)

// PublicKeyPath returns the path of the file with the public key of a state folder.
func PublicKeyPath(stateDir string) string { return filepath.Join(stateDir, publicKeyFile) }

// LoadKey returns the key of a state folder, which it makes the first time. home is the folder's id. The caller has the
// folder's lock.
func LoadKey(stateDir, home string) (Key, error) {
	path := filepath.Join(stateDir, keyFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		private, public, err := note.GenerateKey(rand.Reader, "azf-"+home)
		if err != nil {
			return Key{}, fmt.Errorf("make the key of the audit trail: %w", err)
		}
		content = []byte(private + "\n" + public + "\n")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return Key{}, fmt.Errorf("keep the key of the audit trail: %w", err)
		}
	} else if err != nil {
		return Key{}, fmt.Errorf("read the key of the audit trail: %w", err)
	}
	key, err := parseKey(content)
	if err != nil {
		return Key{}, fmt.Errorf("read the key of the audit trail: %s: %w: restore it from a backup, or remove it: "+
			"then a new one is made, and older checkpoints stay valid with the older public key", path, err)
	}
	if err := os.WriteFile(PublicKeyPath(stateDir), []byte(key.Public+"\n"), 0o600); err != nil {
		return Key{}, fmt.Errorf("keep the key of the audit trail: %w", err)
	}
	return key, nil
}

// parseKey reads a key file: the private key in the first line and the public one in the second.
func parseKey(content []byte) (Key, error) {
	private, public, _ := strings.Cut(strings.TrimSpace(string(content)), "\n")
	signer, err := note.NewSigner(private)
	if err != nil {
		return Key{}, err
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return Key{}, err
	}
	if verifier.Name() != signer.Name() || verifier.KeyHash() != signer.KeyHash() {
		return Key{}, errors.New("its two keys do not belong together")
	}
	return Key{signer: signer, Public: public}, nil
}

// Sign returns the signed text of a checkpoint.
func (k Key) Sign(c Checkpoint) ([]byte, error) {
	text := fmt.Sprintf("%s%s\n%d\n%s\n", originPrefix, c.Log, c.Size, c.Root)
	signed, err := note.Sign(&note.Note{Text: text}, k.signer)
	if err != nil {
		return nil, fmt.Errorf("sign a checkpoint of the audit trail: %w", err)
	}
	return signed, nil
}

// OpenCheckpoint reads the signed text of a checkpoint. One of the public keys must have signed it.
func OpenCheckpoint(signed []byte, keys ...string) (Checkpoint, error) {
	var verifiers []note.Verifier
	for _, key := range keys {
		v, err := note.NewVerifier(strings.TrimSpace(key))
		if err != nil {
			return Checkpoint{}, fmt.Errorf("%q is not a public key of an audit trail: %w", key, err)
		}
		verifiers = append(verifiers, v)
	}
	opened, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the checkpoint is not signed with a known key: %w", err)
	}
	return parseCheckpoint(opened.Text)
}

func parseCheckpoint(text string) (c Checkpoint, err error) {
	lines := strings.Split(text, "\n")
	log, ok := strings.CutPrefix(lines[0], originPrefix)
	if !ok || len(lines) < 4 {
		return Checkpoint{}, errors.New("the checkpoint is not that of an audit trail of sockerless-backend-azf")
	}
	c.Log = log
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 {
		return Checkpoint{}, fmt.Errorf("the checkpoint has size %q", lines[1])
	}
	if c.Root, err = tlog.ParseHash(lines[2]); err != nil {
		return Checkpoint{}, fmt.Errorf("the checkpoint has the root hash %q: %w", lines[2], err)
	}
	return c, nil
}
