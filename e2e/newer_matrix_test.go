//go:build e2e && clients

package e2e

import (
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// newerClients are those of a newer Debian release. BuildKit is of one version,
// so one release is enough.
func newerClients(release string) []harness.NodeClient {
	clients := []harness.NodeClient{
		&harness.NodeDocker{}, harness.NewNodeDockerStore(), &harness.NodeContainerd{},
		&harness.NodeDockerBuild{NodeClient: &harness.NodeDocker{}}, &harness.NodeDockerBuild{NodeClient: harness.NewNodeDockerStore()},
		&harness.NodePodman{}, &harness.NodeBuildah{}, &harness.NodeSkopeo{},
	}
	if release == harness.Releases[0] {
		clients = append(clients, &harness.NodeBuildKit{})
	}
	return clients
}

// What TestModes shows of this machine's clients, for those of newer releases.
func TestNewerModes(t *testing.T) {
	w := harness.NewWorld(t, nil)
	var rows []harness.Row
	for _, release := range harness.Releases {
		t.Logf("Debian %s: %v", release, harness.ChrootPackages(t, release))
		for _, client := range newerClients(release) {
			version := w.Version(t, client, harness.Chroot(t, release))
			for _, mode := range harness.ModesOf(t, client.Kind(), version) {
				t.Run(release+"/"+string(client.Kind())+"/"+mode.Name, func(t *testing.T) {
					row := w.RunMode(t, mode, client, harness.Chroot(t, release))
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
