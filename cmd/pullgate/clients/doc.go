// Package clients knows how each container client is pointed at the gate so that a
// refused image is not fetched from the registry itself: which files the client
// reads, what each of their lines is for, which commands make the client read them,
// and what still leads around the gate.
//
// [For] makes a [Plan] from a [Gate] alone and looks at nothing. [Plan.Write] looks
// at the node below a root first and reports every file that stands in the way at
// once; only when nothing does are files written, each by an atomic rename beside a
// backup of what was there. A second run with the same gate changes nothing.
//
// It promises that a plan has no fallback to the registry in it, that every file of
// it is read by the client's own format, that nothing outside the root is touched
// (a symbolic link that leads out of it is an error), and that content it did not
// write itself is never replaced: daemon.json is merged key by key, everything else
// is the operator's to change.
//
// It never talks to a client, a registry or the gate, and runs no command. The only
// password that it knows is the one in the proxy's address: files that hold it are
// for root alone, and it is in nothing that is printed.
//
// What the plans rely on was measured with real clients, see docs/clients.md; what
// is from a client's documentation alone is said in the plan's notes.
package clients
