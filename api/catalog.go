package api

// Catalog is what this build of Backstay can do, as plain data: Validate holds specs against it, Schema describes it.
type Catalog struct {
	Probes   []TypeInfo   // probe types
	Actions  []ActionInfo // actions
	Routes   []TypeInfo   // route drivers of integrations
	Channels []TypeInfo   // channel drivers of integrations

	// StepInfo sharpens what is known of an action by one step's parameters, as building it would; nil, or false: it stays as it is.
	StepInfo func(Step) (ActionInfo, bool)

	Figures []string // what a run of the twin is measured by, in the words that scenarios use

	// ActionParams gives a pointer to a new params struct of an action, for Schema; nil where it takes none.
	// It may be nil itself.
	ActionParams func(action string) any
}

// TypeInfo is one probe type or driver.
type TypeInfo struct {
	Name    string
	Summary string     // one sentence
	Params  func() any // pointer to a new params struct; for Schema; may be nil
}

func typeNames(types []TypeInfo) []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.Name
	}
	return names
}

func (c Catalog) actionNames() []string {
	names := make([]string, len(c.Actions))
	for i, a := range c.Actions {
		names[i] = a.Name
	}
	return names
}

// Action finds an action by name.
func (c Catalog) Action(name string) (ActionInfo, bool) {
	for _, a := range c.Actions {
		if a.Name == name {
			return a, true
		}
	}
	return ActionInfo{}, false
}
