package calendar

import (
	"cmp"
	"slices"

	"github.com/backstay/backstay/api"
)

// bases are the shipped calendars: days only, since cut-offs are a matter between a bank and its customer. They are Go, not
// files, because every decision that names one must find it without reading anything; api lists the same names for editors.
//
// us-fed: the holidays of the Federal Reserve Banks (frbservices.org, Holiday Schedules). A holiday on a Sunday closes them on
// Monday; one on a Saturday leaves them open on Friday.
//
// target2: the closing days of T2, formerly TARGET2, by the long-term calendar of the European Central Bank of 14 December
// 2000, in force since 2002. None moves away from a weekend.
var bases = []struct {
	name string
	spec api.CalendarSpec
}{
	{"us-fed", api.CalendarSpec{
		Summary: "The Federal Reserve Banks.", Zone: "America/New_York", Weekend: []string{"sat", "sun"},
		Yearly: []api.Holiday{
			{Name: "new-years-day", On: "jan 1", Observed: "us-fed"},
			{Name: "martin-luther-king-day", On: "3rd mon jan", Since: 1986},
			{Name: "presidents-day", On: "3rd mon feb"},
			{Name: "memorial-day", On: "last mon may"},
			{Name: "juneteenth", On: "jun 19", Observed: "us-fed", Since: 2021},
			{Name: "independence-day", On: "jul 4", Observed: "us-fed"},
			{Name: "labor-day", On: "1st mon sep"},
			{Name: "columbus-day", On: "2nd mon oct"},
			{Name: "veterans-day", On: "nov 11", Observed: "us-fed"},
			{Name: "thanksgiving", On: "4th thu nov"},
			{Name: "christmas-day", On: "dec 25", Observed: "us-fed"},
		},
	}},
	{"target2", api.CalendarSpec{
		Summary: "T2, the euro's settlement system.", Zone: "Europe/Berlin", Weekend: []string{"sat", "sun"},
		Yearly: []api.Holiday{
			{Name: "new-years-day", On: "jan 1"},
			{Name: "good-friday", On: "easter-2"},
			{Name: "easter-monday", On: "easter+1"},
			{Name: "labour-day", On: "may 1"},
			{Name: "christmas-day", On: "dec 25"},
			{Name: "second-christmas-day", On: "dec 26"},
		},
	}},
}

// Bases lists the names of the shipped calendars.
func Bases() []string {
	var names []string
	for _, b := range bases {
		names = append(names, b.name)
	}
	return names
}

// withBase lays a spec over the shipped calendar that it names.
func withBase(spec api.CalendarSpec) (api.CalendarSpec, error) {
	if spec.Base == "" {
		return spec, nil
	}
	for _, b := range bases {
		if b.name != spec.Base {
			continue
		}
		spec.Zone = cmp.Or(spec.Zone, b.spec.Zone)
		if len(spec.Weekend) == 0 {
			spec.Weekend = b.spec.Weekend
		}
		spec.Yearly = slices.Concat(b.spec.Yearly, spec.Yearly)
		return spec, nil
	}
	return spec, api.Errorf(api.CodeInvalid, "calendar base %q is not known: write us-fed or target2", spec.Base)
}
