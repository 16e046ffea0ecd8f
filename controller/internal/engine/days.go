package engine

import (
	"strings"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/controller/internal/calendar"
)

// closedDays refuses while the playbook's calendar says no. A calendar that is missing or cannot be read refuses too.
func (s *State) closedDays(p *plan) *api.Refusal {
	if p.Calendar == "" {
		return nil
	}
	if p.Days == nil {
		return refusal(api.GuardCalendar, time.Time{}, "there is no calendar %s", p.Calendar)
	}
	if p.cal == nil && p.calErr == nil {
		p.cal, p.calErr = calendar.New(*p.Days)
	}
	if p.calErr != nil {
		return refusal(api.GuardCalendar, time.Time{}, "calendar %s cannot be read: %v", p.Calendar, p.calErr)
	}
	reason, until, blocked := p.cal.Blocked(s.now)
	if !blocked {
		return nil
	}
	return refusal(api.GuardCalendar, until.UTC(), "calendar %s holds it back: %s", p.Calendar, strings.TrimSuffix(reason, "."))
}
