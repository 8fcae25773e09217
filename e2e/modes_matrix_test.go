//go:build e2e

package e2e

import (
	"flag"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

var update = flag.Bool("update", false, "write the table of docs/clients.md from what happens")

// nativeClients are those of Debian's own packages on this machine.
func nativeClients() []harness.NodeClient {
	return []harness.NodeClient{
		&harness.NodeDocker{}, &harness.NodeContainerd{}, &harness.NodePodman{}, &harness.NodeBuildah{}, &harness.NodeSkopeo{},
	}
}

// Every client in every mode that fits it pulls signed and unsigned images. In
// closed modes nothing at all reaches the registries around the gate; in open
// ones what the table in docs/clients.md says.
func TestModes(t *testing.T) {
	w := harness.NewWorld(t, nil)
	var rows []harness.Row
	for _, client := range nativeClients() {
		version := w.Version(t, client, "")
		for _, mode := range harness.Modes() {
			if mode.For(client.Kind()) && mode.Knows(t, version) {
				t.Run(string(client.Kind())+"/"+mode.Name, func(t *testing.T) {
					row := w.RunMode(t, mode, client, "")
					t.Log(row.Line())
					rows = append(rows, row)
				})
			}
		}
	}
	if !t.Failed() {
		harness.CheckTable(t, "../docs/clients.md", rows, *update)
	}
}
