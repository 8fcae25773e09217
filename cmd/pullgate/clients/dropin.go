package clients

// dropIn sets a service's proxy (systemd.exec(5)). One with a password is in a file
// of variables for root alone: systemd shows Environment= to every user.
func (c checked) dropIn(unit, program string) []File {
	lines := []string{
		c.marker(),
		"[Service]",
		"# Every https:// connection of " + program + " asks the gate, which terminates registries'",
		"# TLS and judges images under their real names.",
		`Environment="HTTPS_PROXY=` + c.Proxy + `"`,
		"# Registries without TLS as well; the gate judges those that it knows so, and refuses others.",
		`Environment="HTTP_PROXY=` + c.Proxy + `"`,
		"# Replaces a NO_PROXY from elsewhere, which could except a registry. Loopback is",
		"# never asked by proxy, whatever stands here.",
		`Environment="NO_PROXY=` + ownAddresses + `"`,
	}
	if !c.secret {
		return []File{whole(dropInOf(unit), text(lines...))}
	}
	return []File{
		whole(dropInOf(unit), text(
			c.marker(),
			"[Service]",
			"# The proxy of "+program+", with its password, which systemd would show to every",
			"# user if it stood here. Without that file the service does not start.",
			"EnvironmentFile="+variablesOf(unit),
		)),
		c.private(whole(variablesOf(unit), text(
			c.marker(),
			"# Every https:// connection of "+program+" asks the gate, which terminates registries'",
			"# TLS and judges images under their real names.",
			`HTTPS_PROXY="`+c.Proxy+`"`,
			"# Registries without TLS as well; the gate judges those that it knows so, and refuses others.",
			`HTTP_PROXY="`+c.Proxy+`"`,
			"# Replaces a NO_PROXY from elsewhere, which could except a registry. Loopback is",
			"# never asked by proxy, whatever stands here.",
			`NO_PROXY="`+ownAddresses+`"`,
		))),
	}
}

// dropInOf is the drop-in of a service that sets its proxy.
func dropInOf(unit string) string { return "/etc/systemd/system/" + unit + ".service.d/pullgate.conf" }

// variablesOf is the file of variables that the drop-in of a service names. systemd
// itself reads only *.conf in that directory.
func variablesOf(unit string) string {
	return "/etc/systemd/system/" + unit + ".service.d/pullgate.env"
}
