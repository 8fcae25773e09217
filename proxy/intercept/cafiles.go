package intercept

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// maxPEM bounds a certificate or key file, in bytes.
const maxPEM = 256 << 10

// LoadOrCreateCA reads the CA from two PEM files, or makes one (ECDSA P-256, ten
// years) and writes it there when both are absent: the key with mode 0600 and
// before the certificate, the folder, when it is absent too, with mode 0700.
//
// It is an error when only one of the files is there, when the key can be read by
// others, when the two do not belong together, or when the certificate is no CA or
// not valid now. Errors name the file and what to do.
func LoadOrCreateCA(certFile, keyFile string) (*CA, error) {
	certPEM, certErr := readFile(certFile, false)
	keyPEM, keyErr := readFile(keyFile, true)
	noCert, noKey := errors.Is(certErr, fs.ErrNotExist), errors.Is(keyErr, fs.ErrNotExist)
	switch {
	case noCert && noKey:
		return createCA(certFile, keyFile)
	case noCert && keyErr == nil:
		return nil, fmt.Errorf("%s is missing, but its key %s is there: put the certificate back, or remove the key to have both made anew", certFile, keyFile)
	case noKey && certErr == nil:
		return nil, fmt.Errorf("%s is missing, but its certificate %s is there: put the key back, or remove the certificate to have both made anew (clients must then trust the new one)", keyFile, certFile)
	case certErr != nil:
		return nil, certErr
	case keyErr != nil:
		return nil, keyErr
	}
	ca, err := parseCA(certPEM, keyPEM, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w; replace them, or remove both to have them made anew (clients must then trust the new certificate)", certFile, keyFile, err)
	}
	return ca, nil
}

func readFile(name string, secret bool) ([]byte, error) {
	if name == "" {
		return nil, errors.New("expected the name of a file, found none")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w; it must be readable by the user that the gate runs as", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: expected a regular file", name)
	case secret && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s: expected a key that only its owner can read, found mode %04o; run: chmod 600 %s", name, info.Mode().Perm(), name)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err == nil && len(b) > maxPEM {
		err = fmt.Errorf("%s: expected at most %d bytes", name, maxPEM)
	}
	return b, err
}

func createCA(certFile, keyFile string) (*CA, error) {
	certPEM, keyPEM, err := newCA(time.Now())
	if err != nil {
		return nil, err
	}
	for _, f := range []string{keyFile, certFile} {
		if err := os.MkdirAll(filepath.Dir(f), 0o700); err != nil {
			return nil, fmt.Errorf("making the folder of %s: %w", f, err)
		}
	}
	if err := writeNew(keyFile, keyPEM, 0o600); err != nil {
		return nil, err
	}
	if err := writeNew(certFile, certPEM, 0o644); err != nil {
		return nil, err
	}
	return LoadOrCreateCA(certFile, keyFile) // what is served is what is on disk
}

// writeNew writes a file that appears whole or not at all, and never replaces one:
// another gate may be starting in the same folder.
func writeNew(name string, b []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w; its folder must be writable, or the files given", name, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Link(tmp.Name(), name)
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s was made by somebody else meanwhile: start again", name)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes sure that a new name survives a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
