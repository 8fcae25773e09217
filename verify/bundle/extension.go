package bundle

import "github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

// ExtensionNames lists the extension fields that [ParseIdentity] knows: Fulcio's
// own names (fulcio, docs/oid-info.md), the githubWorkflow ones being those that
// Fulcio calls deprecated.
func ExtensionNames() []string {
	return []string{
		"buildConfigDigest", "buildConfigURI", "buildSignerDigest", "buildSignerURI", "buildTrigger",
		"githubWorkflowName", "githubWorkflowRef", "githubWorkflowRepository", "githubWorkflowSHA", "githubWorkflowTrigger",
		"runInvocationURI", "runnerEnvironment",
		"sourceRepositoryDigest", "sourceRepositoryIdentifier", "sourceRepositoryOwnerIdentifier", "sourceRepositoryOwnerURI",
		"sourceRepositoryRef", "sourceRepositoryURI", "sourceRepositoryVisibilityAtSigning",
	}
}

// ExtensionFields are the fields that a certificate has, by the names in
// [ExtensionNames].
func ExtensionFields(e certificate.Extensions) map[string]string {
	out := map[string]string{}
	for _, name := range ExtensionNames() {
		if v := *extensionField(&e, name); v != "" {
			out[name] = v
		}
	}
	return out
}

// extensionField returns the field of a name, and nil for a name that is unknown.
func extensionField(e *certificate.Extensions, name string) *string {
	fields := map[string]*string{
		"buildConfigDigest":                   &e.BuildConfigDigest,
		"buildConfigURI":                      &e.BuildConfigURI,
		"buildSignerDigest":                   &e.BuildSignerDigest,
		"buildSignerURI":                      &e.BuildSignerURI,
		"buildTrigger":                        &e.BuildTrigger,
		"githubWorkflowName":                  &e.GithubWorkflowName,
		"githubWorkflowRef":                   &e.GithubWorkflowRef,
		"githubWorkflowRepository":            &e.GithubWorkflowRepository,
		"githubWorkflowSHA":                   &e.GithubWorkflowSHA,
		"githubWorkflowTrigger":               &e.GithubWorkflowTrigger,
		"runInvocationURI":                    &e.RunInvocationURI,
		"runnerEnvironment":                   &e.RunnerEnvironment,
		"sourceRepositoryDigest":              &e.SourceRepositoryDigest,
		"sourceRepositoryIdentifier":          &e.SourceRepositoryIdentifier,
		"sourceRepositoryOwnerIdentifier":     &e.SourceRepositoryOwnerIdentifier,
		"sourceRepositoryOwnerURI":            &e.SourceRepositoryOwnerURI,
		"sourceRepositoryRef":                 &e.SourceRepositoryRef,
		"sourceRepositoryURI":                 &e.SourceRepositoryURI,
		"sourceRepositoryVisibilityAtSigning": &e.SourceRepositoryVisibilityAtSigning,
	}
	return fields[name]
}
