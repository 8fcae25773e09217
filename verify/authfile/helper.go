package authfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	helperclient "github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"go.podman.io/image/v5/types"
)

const (
	helperPrefix = "docker-credential-" // of the program on PATH

	dockerHub = "docker.io"
	hubKey    = "https://index.docker.io/v1/" // under which docker stores Docker Hub's credentials
	tokenUser = "<token>"                     // user name by which helpers mark an identity token

	helperTimeout   = 30 * time.Second
	maxHelperOutput = 1 << 20 // bytes
)

// storeKey is the name under which docker keeps a registry's credentials in its
// credsStore.
func storeKey(registry string) string {
	if registry == dockerHub {
		return hubKey
	}
	return registry
}

// runHelper asks docker-credential-NAME for a server's credentials (the protocol of
// docker-credential-helpers). Not having any is no error; everything else is, and
// the error never repeats what the helper printed, which may be a secret.
func runHelper(ctx context.Context, name, server string) (types.DockerAuthConfig, error) {
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	var failure error
	c, err := helperclient.Get(func(args ...string) helperclient.Program {
		return &program{ctx: ctx, name: helperPrefix + name, args: args, failure: &failure}
	}, server)
	switch {
	case err == nil:
	case credentials.IsErrCredentialsNotFound(err):
		return types.DockerAuthConfig{}, nil
	case failure != nil:
		return types.DockerAuthConfig{}, fmt.Errorf("credential helper %s: %w", name, failure)
	default:
		return types.DockerAuthConfig{}, fmt.Errorf("credential helper %s: its answer for %s cannot be used", name, server)
	}
	if c.Username == tokenUser {
		return types.DockerAuthConfig{IdentityToken: c.Secret}, nil
	}
	return types.DockerAuthConfig{Username: c.Username, Password: c.Secret}, nil
}

// program is one run of a helper, bounded in time and output.
type program struct {
	ctx     context.Context
	name    string
	args    []string
	in      io.Reader
	failure *error // why it could not be run to its end, without its output
}

// Input sets what the helper reads.
func (p *program) Input(in io.Reader) { p.in = in }

// Output runs the helper and returns what it printed. Its standard error is
// dropped: nobody promises that there is no secret in it.
func (p *program) Output() ([]byte, error) {
	cmd := exec.CommandContext(p.ctx, p.name, p.args...)
	cmd.Stdin = p.in
	out := &bounded{limit: maxHelperOutput}
	cmd.Stdout = out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if p.ctx.Err() != nil {
			err = p.ctx.Err()
		}
		*p.failure = err
		return out.b.Bytes(), err
	}
	return out.b.Bytes(), nil
}

// bounded keeps output up to a limit and errors beyond it.
type bounded struct {
	b     bytes.Buffer
	limit int
}

var errOutput = errors.New("the helper prints too much")

func (w *bounded) Write(p []byte) (int, error) {
	if w.b.Len()+len(p) > w.limit {
		return 0, errOutput
	}
	return w.b.Write(p)
}
