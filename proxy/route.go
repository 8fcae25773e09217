package proxy

import "strings"

// route is what the path of a request asks for. Its zero value is no route.
type route struct {
	kind string // ping, manifest, blob, tags or referrers: also its name in metrics
	name string // of the repository; not checked
	what string // tag or digest; not checked, empty for a list of tags
}

// routeOf reads a path ("Endpoints" of the OCI distribution specification): /v2/,
// /v2/<name>/manifests/<reference>, /v2/<name>/blobs/<digest>, /v2/<name>/tags/list,
// /v2/<name>/referrers/<digest>. Names hold slashes, so the last two elements say
// which it is. Nothing is decoded or cleaned: one name has one spelling.
func routeOf(path string) route {
	if path == "/v2" || path == "/v2/" {
		return route{kind: "ping"}
	}
	path, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return route{}
	}
	path, what := cutLast(path)
	name, kind := cutLast(path)
	if name == "" || what == "" {
		return route{}
	}
	switch {
	case kind == "manifests":
		return route{"manifest", name, what}
	case kind == "blobs":
		return route{"blob", name, what}
	case kind == "tags" && what == "list":
		return route{"tags", name, ""}
	case kind == "referrers":
		return route{"referrers", name, what}
	}
	return route{}
}

// cutLast splits a path at its last slash. Without one there is nothing before.
func cutLast(path string) (before, last string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// handlerOf returns what answers for a kind of route, nil when nothing does.
func (h *Handler) handlerOf(kind string) func(*exchange) error {
	switch kind {
	case "ping":
		return h.getPing
	case "manifest":
		return h.getManifest
	case "blob":
		return h.getBlob
	case "tags":
		return h.getTags
	case "referrers":
		return h.getReferrers
	}
	return nil
}
