package doctor

import (
	"strings"
	"testing"
)

// FuzzFiles gives every parser of a node's files the same bytes: none may panic, and
// nothing that does not name the gate may be closed.
func FuzzFiles(f *testing.F) {
	for _, s := range []string{
		goodHosts, goodCRI, goodRule, rewrite, snapshot, proxied, mirrorsOf, "",
		"[[a]]\n[a.b]\nc = {d = [1, {e = 2}]}\n", "[a.[b]]", "[Service]\nEnvironment=\"A=b c\" \\\n D='e'\nExecStart=x --y=z\n",
		"version = 9\n[plugins.cri.registry]\nconfig_path='a:b'\n", "mirrors:\n  '*': {endpoint: [a]}\n", "a: &a [*a]\n",
	} {
		f.Add([]byte(s))
	}
	g, err := newGate(Options{Gates: []string{"https://gate.example"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		tomlLines(b)
		_, _ = parseDaemon(b)
		var u unit
		u.env, u.reads = map[string]setting{}, map[string]bool{}
		u.parse("/f", b, nil)
		u.flags("--y")
		envProxies("/f", b).forURL("https://docker.io")
		var k k3sRegistries
		_ = decodeYAML(b, &k)
		pullText(b)
		parsed, err := parseHosts(b)
		if err != nil || strings.Contains(string(b), "gate") || strings.Contains(string(b), "\\") {
			return
		}
		i := inspection{n: node{"/nonexistent"}, g: g, client: "containerd"}
		i.judgeHosts("/f", parsed, "docker.io", hostRules{})
		if len(open(Client{Findings: i.findings})) == 0 {
			t.Errorf("closed by %q", b)
		}
	})
}

// FuzzClassify: only an end without an error arrives, and nothing is called refused
// without the gate's word, or docker's for it.
func FuzzClassify(f *testing.F) {
	f.Add(refusedText, 1)
	f.Add("(Mirrors also failed: [a: pullgate canary]): b: registry c is blocked in d", 125)
	f.Add("]): Mirrors also failed: [", 1)
	f.Fuzz(func(t *testing.T, says string, exit int) {
		for _, fam := range []family{familyFirst, familyContainers, familyDocker} {
			verdict, _ := classify(fam, ran{output: says, exit: exit})
			if verdict == VerdictRefused && !strings.Contains(says, canaryWord) && !(fam == familyDocker && strings.Contains(says, mirrorStop)) {
				t.Errorf("refused: %q", says)
			}
			if exit == 0 && verdict != VerdictArrived {
				t.Errorf("%s: %q", verdict, says)
			}
		}
		clip(clean(says), 20)
	})
}
