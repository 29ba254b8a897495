// Package procedure has the procedures of the field over any [trial.Tester]:
//
//	Throughput           RFC 2544 section 26.1, as the search goal that RFC 9971 has for it; of mixes (RFC 6985) too: Imix
//	Latency              RFC 2544 section 26.2
//	LossCurve            RFC 2544 section 26.3
//	BackToBack           RFC 9004, with the search of ETSI GS NFV-TST 009 section 12.3.3
//	Recovery, Reset      RFC 2544 sections 26.5 and 26.6
//	MLRsearch            RFC 9971: several goals in one search
//	Reconfiguration      what a change of the running device costs, as FD.io CSIT has it
//	Soak, Run            a rate for a long time, or for any
//
// Each takes options, whose zero values are what the standard says, and gives a [Result], which has every trial, every
// deviation from the standard, and what could not be stated. A context that ends gives the result so far, which says so
// (Result.Partial), and no error; an error of the tester gives the result so far too.
//
// What to beware of:
//   - A result is never above what the generator does on its own (Calibrate): there it is refused (Result.Refused), since
//     the generator and not the device was measured.
//   - Nothing here looks at a clock. Times are those that trials ask for.
package procedure
