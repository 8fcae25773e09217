package clients

import (
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// k3sConfigAgrees refuses settings of k3s that undo the plan: the fallback left on,
// or another file of registries.
func k3sConfigAgrees(n node) []string {
	names, err := n.files(k3sConfigDir, ".yaml")
	if err != nil {
		return []string{err.Error()}
	}
	var faults []string
	for _, name := range append([]string{k3sConfigMain}, names...) {
		if name == k3sConfigFile {
			continue
		}
		b, _, err := n.read(name)
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		var settings map[string]any
		if err := yaml.Unmarshal(b, &settings); err != nil {
			faults = append(faults, name+": is not valid YAML"+yamlLine(err))
			continue
		}
		// k3s appends to a key with + behind its name.
		for _, key := range []string{"disable-default-registry-endpoint", "disable-default-registry-endpoint+"} {
			if v, ok := settings[key]; ok && v != true {
				faults = append(faults, fmt.Sprintf("%s: %s is not true; expected true, or nothing: remove it", name, key))
			}
		}
		for _, key := range []string{"private-registry", "private-registry+"} {
			if v, ok := settings[key]; ok && v != k3sRegistriesFile {
				faults = append(faults, fmt.Sprintf("%s: %s names another file than %s, which is then not read; remove it", name, key, k3sRegistriesFile))
			}
		}
	}
	return faults
}

var yamlLinePattern = regexp.MustCompile(`\bline \d+`)

// yamlLine says where a file cannot be read, without its text, which may hold
// passwords. The parser tells no columns.
func yamlLine(err error) string {
	if at := yamlLinePattern.FindString(err.Error()); at != "" {
		return ": " + at
	}
	return ""
}
