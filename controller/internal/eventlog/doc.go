// Package eventlog reads event logs of back-office work (which case, which activity, who, from when to when) and measures how far two
// logs lie apart. A model of the work is fitted to one part of a log; how well it foretells the other part is a distance between the
// work that the model makes up and the work that was done.
//
// Read takes CSV and XES, plain or gzip, and streams: it holds the events that it keeps and one row more. It takes at most
// Options.EventsMax events. A file that is not what it seems to be is an error naming the file and the line; a single row that cannot be
// used is left out, and Report says how many were left out, why, and where the first of them are. For every log that was read
//
//	Report.Rows == Report.Events + Report.Paired + the sum of Report.Skipped[i].Count
//
// Compare gives the six distances of D. Chapela-Campa, I. Benchekroun, O. Baron, M. Dumas, D. Krass and A. Senderovich, "Can I trust my
// simulation model? Measuring the quality of business process simulation models" (2023), computed as their Python package
// log-distance-measures computes them with start and end of each event, bins of one hour and UTC, which is how published fidelity
// figures were made. All are exact. Floor gives the same distances for the past itself, resampled: no model needs to beat that by much,
// and a model that stays far above it has not learnt what the past could have told.
//
// The package is pure: it reads from an io.Reader, and chance comes from a seed. The same bytes give the same Log.
package eventlog
