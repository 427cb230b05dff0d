"""The HTTP face of a Host: `gateway.server.Gateway`, started by `host.gateway`."""
