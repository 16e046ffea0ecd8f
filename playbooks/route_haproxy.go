package playbooks

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/backstay/backstay/api"
)

type haproxyParams struct {
	Socket  string            `json:"socket" rule:"required" doc:"HAProxy's runtime socket: the absolute path of a unix socket with level admin, or 127.0.0.1:PORT."`
	Backend string            `json:"backend" rule:"required" doc:"The backend that holds the servers."`
	Servers map[string]string `json:"servers,omitempty" doc:"The server of each endpoint: {primary: gwA, standby: gwB}; the endpoint's own name where left out."`
	Leave   string            `json:"leave,omitempty" rule:"oneof=drain|maint" default:"drain" doc:"State of servers that are left: drain lets open connections and persistent sessions end, maint also stops health checks."`
}

var haproxyDriver = RouteDriver{
	Name:    "haproxy",
	Summary: "Sets states and weights of a backend's servers through HAProxy's runtime socket, and always reads them again. Runtime state is lost when HAProxy reloads, unless it keeps a server state file.",
	Params:  func() any { return new(haproxyParams) },
	Build: func(in api.Integration, params any, _ *Env) (Route, error) {
		p := params.(*haproxyParams)
		socket, err := newHAProxySocket(p.Socket)
		if err != nil {
			return nil, err
		}
		r := &haproxyRoute{in: in, socket: socket, backend: p.Backend, servers: p.Servers, leave: p.Leave}
		if r.leave == "" {
			r.leave = haproxyDrain
		}
		used := map[string]string{}
		for _, e := range in.Spec.Endpoints {
			name := r.servers.value(e.Name)
			if !haproxyName.MatchString(name) {
				return nil, fmt.Errorf("server %q is not a name that HAProxy allows", name)
			}
			if other, twice := used[name]; twice {
				return nil, fmt.Errorf("endpoints %s and %s are the same server %s", other, e.Name, name)
			}
			used[name] = e.Name
		}
		for endpoint := range p.Servers { // order does not matter: any one is an error
			if !hasEndpoint(in, endpoint) || endpoint == "" {
				return nil, fmt.Errorf("servers names endpoint %q, which integration %s does not have", endpoint, in.Metadata.Name)
			}
		}
		if !haproxyName.MatchString(r.backend) {
			return nil, fmt.Errorf("backend %q is not a name that HAProxy allows", r.backend)
		}
		return r, nil
	},
}

// haproxyRoute is a route whose image is []haproxyServer, in the order of the backend. The shares are those of the
// administrative state: a server that is merely down keeps its share, because it gets the traffic back by itself.
type haproxyRoute struct {
	in      api.Integration
	socket  haproxySocket
	backend string
	servers valueMap
	leave   string
}

// Read asks for state and statistics, and works out who gets which share.
func (r *haproxyRoute) Read(ctx context.Context) (RouteState, error) {
	servers, err := r.read(ctx)
	if err != nil {
		return RouteState{}, err
	}
	image, err := json.Marshal(servers)
	if err != nil {
		return RouteState{}, fmt.Errorf("keep HAProxy's state: %w", err)
	}
	return RouteState{Shares: r.shares(servers), Image: image}, nil
}

func (r *haproxyRoute) read(ctx context.Context) ([]haproxyServer, error) {
	text, err := r.socket.ask(ctx, "show servers state "+r.backend)
	if err != nil {
		return nil, err
	}
	servers, err := parseServersState(text, r.backend)
	if err != nil {
		return nil, err
	}
	if text, err = r.socket.ask(ctx, "show stat "+r.backend+" 4 -1"); err != nil {
		return nil, err
	}
	if err := parseStat(text, r.backend, servers); err != nil {
		return nil, err
	}
	for _, e := range r.in.Spec.Endpoints {
		if r.find(servers, e.Name) == nil {
			return nil, fmt.Errorf("HAProxy's backend %s has no server %s for endpoint %s", r.backend, r.servers.value(e.Name), e.Name)
		}
	}
	for _, s := range servers {
		if _, ok := r.servers.endpoint(r.in, s.Name); !ok && s.Admin == haproxyReady {
			return nil, fmt.Errorf("HAProxy's backend %s has server %s, which gets traffic but belongs to no endpoint of %s; name it in the integration", r.backend, s.Name, r.in.Metadata.Name)
		}
	}
	return servers, nil
}

func (r *haproxyRoute) find(servers []haproxyServer, endpoint string) *haproxyServer {
	name := r.servers.value(endpoint)
	if i := slices.IndexFunc(servers, func(s haproxyServer) bool { return s.Name == name }); i >= 0 {
		return &servers[i]
	}
	return nil
}

// shares works out percents, rounded so that only a lone server has 100 and only a server without traffic has 0.
func (r *haproxyRoute) shares(servers []haproxyServer) []RouteShare {
	sum := 0
	for _, s := range servers {
		if s.Admin == haproxyReady && !s.Backup {
			sum += s.Weight
		}
	}
	first := ""
	for _, s := range servers {
		if s.Admin == haproxyReady && s.Backup && s.Weight > 0 && first == "" {
			first = s.Name
		}
	}
	shares := make([]RouteShare, len(r.in.Spec.Endpoints))
	for i, e := range r.in.Spec.Endpoints {
		s := r.find(servers, e.Name)
		shares[i].Endpoint = e.Name
		switch {
		case sum == 0 && s.Name == first:
			shares[i].Percent = 100
		case sum > 0 && s.Admin == haproxyReady && !s.Backup && s.Weight == sum:
			shares[i].Percent = 100
		case sum > 0 && s.Admin == haproxyReady && !s.Backup && s.Weight > 0:
			shares[i].Percent = min(99, max(1, (s.Weight*100+sum/2)/sum))
		}
	}
	return shares
}

// Ready refuses an endpoint that HAProxy itself sees down, and shares that a backup server cannot have.
func (r *haproxyRoute) Ready(state RouteState, to string, percent int) error {
	if len(state.Image) == 0 {
		return nil
	}
	servers, err := r.image(state)
	if err != nil {
		return err
	}
	target := r.find(servers, to)
	if target.Admin != haproxyMaint && !target.Up {
		return fmt.Errorf("HAProxy's own check says that server %s is %s: moving there would help nobody", target.Name, target.Status)
	}
	if percent == 100 {
		return nil
	}
	for _, e := range r.in.Spec.Endpoints {
		if s := r.find(servers, e.Name); s.Backup {
			return fmt.Errorf("server %s is a backup, which gets nothing until all active servers are out, so %d%% cannot be had; use ramp: [100], or make it an active server of weight 0", s.Name, percent)
		}
	}
	return nil
}

func (r *haproxyRoute) image(state RouteState) ([]haproxyServer, error) {
	var servers []haproxyServer
	if err := json.Unmarshal(state.Image, &servers); err != nil {
		return nil, fmt.Errorf("read the before-image of HAProxy's backend %s: %w", r.backend, err)
	}
	for _, e := range r.in.Spec.Endpoints {
		if r.find(servers, e.Name) == nil {
			return nil, fmt.Errorf("the before-image of HAProxy's backend %s has no server %s; the integration was changed since", r.backend, r.servers.value(e.Name))
		}
	}
	return servers, nil
}

// Shift brings the new server in first and takes the others out afterwards, so that there is always somebody to serve.
func (r *haproxyRoute) Shift(ctx context.Context, before RouteState, to string, percent int) error {
	servers, err := r.image(before)
	if err != nil {
		return err
	}
	target := r.find(servers, to)
	weight := target.Weight
	if percent < 100 {
		weight = percent
	} else if weight == 0 {
		weight = 100
	}
	if err := r.put(ctx, target.Name, weight, haproxyReady); err != nil {
		return err
	}
	rest := 0
	for _, share := range before.Shares {
		if share.Endpoint != to {
			rest += share.Percent
		}
	}
	for _, share := range before.Shares {
		s := r.find(servers, share.Endpoint)
		switch {
		case share.Endpoint == to:
		case percent == 100 && s.Admin == haproxyMaint:
		case percent == 100:
			err = r.put(ctx, s.Name, s.Weight, r.leave)
		case share.Percent > 0:
			err = r.put(ctx, s.Name, max(1, (100-percent)*share.Percent/rest), haproxyReady)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Restore sets every server to the weight and state it had, those that were ready first.
func (r *haproxyRoute) Restore(ctx context.Context, before RouteState) error {
	servers, err := r.image(before)
	if err != nil {
		return err
	}
	for _, ready := range []bool{true, false} {
		for _, e := range r.in.Spec.Endpoints {
			if s := r.find(servers, e.Name); (s.Admin == haproxyReady) == ready {
				if err := r.put(ctx, s.Name, s.Weight, s.Admin); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// put sets a server's weight, then its state.
func (r *haproxyRoute) put(ctx context.Context, server string, weight int, state string) error {
	if err := r.socket.set(ctx, "set server %s/%s weight %d", r.backend, server, weight); err != nil {
		return err
	}
	return r.socket.set(ctx, "set server %s/%s state %s", r.backend, server, state)
}

// Sessions counts what is still open at an endpoint.
func (r *haproxyRoute) Sessions(ctx context.Context, endpoint string) (int64, error) {
	servers, err := r.read(ctx)
	if err != nil {
		return 0, err
	}
	return r.find(servers, endpoint).Open, nil
}
