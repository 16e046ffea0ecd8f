package playbooks

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/backstay/backstay/api"
)

// RouteDriver is one way to switch an integration's traffic.
type RouteDriver struct {
	Name    string
	Summary string
	Params  func() any // pointer to a new params struct; its tags are the documentation and the schema
	// Build makes the route of an integration from decoded params. It does no I/O.
	Build func(in api.Integration, params any, env *Env) (Route, error)
}

// Drivers lists all route drivers, in the order of the reference pages. A new one is one file and one line here.
var Drivers = []RouteDriver{haproxyDriver, httpRouteDriver, sqlRouteDriver, fileRouteDriver}

// Route is how one integration's traffic is switched. Only new work moves; what is under way stays where it is.
type Route interface {
	// Read gives the route as the target has it now.
	Read(ctx context.Context) (RouteState, error)
	// Ready tells why traffic cannot be sent to an endpoint, beforehand and by reading only; nil where nothing speaks
	// against it. percent is below 100 when the route is to be shared for a while.
	Ready(state RouteState, to string, percent int) error
	// Shift sends percent of the traffic to an endpoint; what is left stays in the proportions of before. A nil error
	// means only that the target took it: the caller reads the route again.
	Shift(ctx context.Context, before RouteState, to string, percent int) error
	// Restore brings back what Read saw.
	Restore(ctx context.Context, before RouteState) error
}

// drainer is a route that knows how many connections or sessions an endpoint still has.
type drainer interface {
	Sessions(ctx context.Context, endpoint string) (int64, error)
}

// RouteState is a route at one moment.
type RouteState struct {
	Shares []RouteShare    `json:"shares"`          // percent of new work, by endpoint in the integration's order
	Image  json.RawMessage `json:"image,omitempty"` // the driver's own, for Restore
}

// RouteShare is the part of the traffic that an endpoint gets.
type RouteShare struct {
	Endpoint string `json:"endpoint"`
	Percent  int    `json:"percent"`
}

// Share is an endpoint's percent.
func (s RouteState) Share(endpoint string) int {
	for _, share := range s.Shares {
		if share.Endpoint == endpoint {
			return share.Percent
		}
	}
	return 0
}

// String prints the shares: primary 90%, standby 10%.
func (s RouteState) String() string {
	parts := make([]string, 0, len(s.Shares))
	for _, share := range s.Shares {
		if share.Percent > 0 {
			parts = append(parts, fmt.Sprintf("%s %d%%", share.Endpoint, share.Percent))
		}
	}
	if len(parts) == 0 {
		return "nowhere"
	}
	return strings.Join(parts, ", ")
}

// BuildRoute finds the driver of an integration's route and builds it, so that a fault in a route is found at load, also where no
// playbook uses it yet. It does no I/O.
func BuildRoute(in api.Integration, env *Env) (Route, api.Findings) {
	spec := in.Spec.Route
	if spec == nil {
		return nil, finding(in.Pos, "no-route", fmt.Sprintf("integration %q has no route to switch", in.Metadata.Name), "give it spec.route with a driver: "+driverNames())
	}
	i := slices.IndexFunc(Drivers, func(d RouteDriver) bool { return d.Name == spec.Driver })
	if i < 0 {
		return nil, finding(in.Pos, "unknown-driver", fmt.Sprintf("integration %q: there is no route driver %q", in.Metadata.Name, spec.Driver), "the drivers are "+driverNames())
	}
	params := Drivers[i].Params()
	if fs := spec.With.Decode(params); fs.Failed() {
		return nil, fs
	}
	route, err := Drivers[i].Build(in, params, env)
	if err != nil {
		return nil, finding(in.Pos, "bad-params", fmt.Sprintf("integration %q: route: %s", in.Metadata.Name, err), "")
	}
	return route, nil
}

func driverNames() string {
	names := make([]string, len(Drivers))
	for i, d := range Drivers {
		names[i] = d.Name
	}
	return strings.Join(names, ", ")
}

// whole is the state of a route that sends everything to one endpoint.
func whole(in api.Integration, to string) []RouteShare {
	shares := make([]RouteShare, len(in.Spec.Endpoints))
	for i, e := range in.Spec.Endpoints {
		shares[i].Endpoint = e.Name
		if e.Name == to {
			shares[i].Percent = 100
		}
	}
	return shares
}

// valueMap says which value a route has for each endpoint; the endpoint's own name where nothing is said.
type valueMap map[string]string

func (m valueMap) value(endpoint string) string {
	if v, ok := m[endpoint]; ok {
		return v
	}
	return endpoint
}

// endpoint finds the endpoint of a value, in the integration's order.
func (m valueMap) endpoint(in api.Integration, value string) (string, bool) {
	for _, e := range in.Spec.Endpoints {
		if m.value(e.Name) == value {
			return e.Name, true
		}
	}
	return "", false
}

// wholeOnly refuses a share for routes that send everything to one place.
func wholeOnly(driver string, percent int) error {
	if percent == 100 {
		return nil
	}
	return fmt.Errorf("a route of driver %s sends all traffic to one endpoint: it cannot send %d%% somewhere; use ramp: [100]", driver, percent)
}

// notTaken is an error of a route that definitely changed nothing.
type notTaken struct{ text string }

func (e notTaken) Error() string { return e.text }
