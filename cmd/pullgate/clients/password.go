package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxUserinfo bounds a user name and a password, in bytes.
const maxUserinfo = 256

// checkProxy accepts http://[user:password@]host:port, and writes user and password
// anew so that neither a file nor a shell reads anything but letters in them.
func (c *checked) checkProxy() error {
	u, err := url.Parse(c.Proxy)
	if err != nil {
		return errors.New("--proxy: expected http://host:port, found no URL; in a user name or password write what is no letter or digit as %XX, like %40 for @")
	}
	bare, prefix := c.Proxy, ""
	if u.User != nil {
		if prefix, err = userinfo(u.User); err != nil {
			return err
		}
		scheme, rest, _ := strings.Cut(c.Proxy, "://")
		_, host, found := strings.Cut(rest, "@")
		if !found || strings.Contains(host, "@") {
			return errors.New("--proxy: expected http://user:password@host:port with one @; write one in the password as %40")
		}
		bare = scheme + "://" + host
	}
	_, host, err := plainURL("--proxy", bare, "http")
	if err != nil {
		return err
	}
	if !hasPort(host) {
		return errors.New("--proxy: expected http://host:port, found a URL without a port; write the port of intercept.listen")
	}
	c.secret = prefix != ""
	c.Proxy, c.shown = "http://"+prefix+host, bare
	if c.secret {
		c.shown = "http://***@" + host
	}
	return nil
}

// userinfo is user:password@ with everything but unreserved characters encoded (RFC
// 3986, section 2.3). Errors repeat neither of them.
func userinfo(u *url.Userinfo) (string, error) {
	user, password := u.Username(), ""
	password, _ = u.Password()
	switch {
	case user == "" || password == "":
		return "", errors.New("--proxy: expected http://user:password@host:port, found a user name or password that is empty")
	case len(user) > maxUserinfo || len(password) > maxUserinfo:
		return "", fmt.Errorf("--proxy: expected a user name and a password of at most %d bytes, found more", maxUserinfo)
	case strings.Contains(user, ":"):
		return "", errors.New("--proxy: expected a user name without a colon, which no password file can hold")
	}
	for _, s := range []string{user, password} {
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return "", errors.New("--proxy: expected a user name and a password of UTF-8 without control characters")
		}
	}
	return encoded(user) + ":" + encoded(password) + "@", nil
}

func encoded(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

var anyUserinfo = regexp.MustCompile(`://[^/\s"'@]+@`)

// masked is text without the user and password of URLs.
func masked(s string) string { return anyUserinfo.ReplaceAllString(s, "://***@") }

// onlyPassword reports whether the proxy that is set is the wanted one without a
// password or with another: the operator has named the gate already.
func onlyPassword(is, want json.RawMessage) bool {
	var have, wanted string
	return json.Unmarshal(is, &have) == nil && json.Unmarshal(want, &wanted) == nil &&
		wanted != masked(wanted) && anyUserinfo.ReplaceAllString(have, "://") == anyUserinfo.ReplaceAllString(wanted, "://")
}

// mode is that of a file which names the proxy.
func (c checked) mode() fs.FileMode {
	if c.secret {
		return 0o600
	}
	return 0o644
}

// private is a file which names the proxy.
func (c checked) private(f File) File {
	f.Mode = c.mode()
	return f
}

// passwordNotes say how this client tells the gate who asks.
func (c checked) passwordNotes(p *Plan) {
	byProxy := p.Mode == ModeProxy || p.Mode == ModeEnvironment
	switch {
	case byProxy && c.secret:
		p.note("*** stands for the user and password of --proxy, which are never printed. --write writes them, into files that root alone can read (mode 0600); in commands put them there yourself.")
	case byProxy && c.Passwords:
		p.note("The gate asks for passwords, and whoever asks by proxy has one place for it: give --proxy http://user:password@host:port, or list the node in auth.trusted_networks of the gate. With neither, everything is refused.")
	case c.Passwords:
		c.login(p)
	}
}

// login says where a client that asks the gate by name has its password.
func (c checked) login(p *Plan) {
	const others = " Instead of passwords: auth.trusted_networks of the gate, or client certificates."
	header := "The gate asks for passwords. A login or a pull secret is for the registry in the image's name and does not reach the gate as a password of its own: add to each [host.…] table of hosts.toml by hand [host.\"" + c.URL + "\".header] with authorization = [\"Basic BASE64 OF USER:PASSWORD\"], and make the files readable for root alone. This command then takes them for changed, and writes them anew."
	switch c.client {
	case Docker:
		p.run("docker login "+c.host, "the gate asks for passwords; for each user who pulls")
		p.note("The password is kept in ~/.docker/config.json of who has logged in." + others)
	case DockerContainerd:
		p.note(header + others)
		p.run("docker login "+c.host, "for images by the gate's own name, which are asked with the user's login")
	case Containerd:
		p.note(header + " Pods take imagePullSecrets: pullgate client kubernetes --passwords." + others)
	case Podman:
		p.run("podman login "+c.host, "the gate asks for passwords; for each user who pulls. skopeo and buildah read the same file")
		p.note("The password is kept in ${XDG_RUNTIME_DIR}/containers/auth.json of who has logged in, or where --authfile says." + others)
	case CRIO:
		p.note("The gate asks for passwords: CRI-O has them from imagePullSecrets of pods (pullgate client kubernetes --runtime cri-o --passwords), or from the file that global_auth_file in crio.conf names, under " + c.host + "; from its documentation, not tried." + others)
	case K3s:
		p.note("The gate asks for passwords: give imagePullSecrets to pods (pullgate client kubernetes --passwords), or add auth: {username: USER, password: PASSWORD} below configs.\"" + c.host + "\" of " + k3sRegistriesFile + " by hand, with mode 0600; from k3s' documentation, not tried. This command writes the file anew, and keeps what it had as a backup." + others)
	case Talos:
		p.note("The gate asks for passwords: add auth: {username: USER, password: PASSWORD} below machine.registries.config.\"" + c.host + "\" of the patch; from Talos' documentation, not tried." + others)
	}
}
