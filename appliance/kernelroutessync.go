package appliance

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"weir/policy"
)

// kernelProtocol is the originator of weir's routes and rules (rtm_protocol, FRA_PROTOCOL), by which it knows its own. The
// kernel gives no meaning to values above RTPROT_STATIC; linux/rtnetlink.h lists those that are taken, and 119, a w, is not.
const kernelProtocol = 119

// kernelPolicy is what the kernel is to have. The zero kernelPolicy is nothing.
type kernelPolicy struct {
	linux      *policy.Linux
	ifindex    []int // by port; 0 where the kernel has none
	generation uint64
}

// kernelSync is one pass that makes our rules and routes in the kernel those that are wanted, by no more changes than that
// takes. New ones come before old ones go: no packet finds less than it would by the old or by the new policy.
type kernelSync struct {
	*routeSocket
	want    kernelPolicy
	routing *sync.RWMutex

	routes, rules int // that the kernel has now
	changed       int // requests that it took
	portless      int // routes left out since a port of theirs is no netdev
	trouble       []string
	refused       int // requests, of which trouble names the first
}

// refusedMost is how many refusals are named.
const refusedMost = 3

// run makes the pass. The error is one that kept it from its end; what the kernel refused is in trouble.
func (k *kernelSync) run() error {
	have := map[kernelRouteKey]kernelRoute{}
	for _, f := range ruleFamilies {
		reset := func() { // of this family
			for key := range have {
				if kernelFamily(key.prefix.Addr()) == f.kernel {
					delete(have, key)
				}
			}
		}
		err := k.dumpRoutes(f.kernel, kernelProtocol, 0, reset, func(r *kernelRoute, protocol uint8) {
			if protocol == kernelProtocol {
				have[r.kernelRouteKey] = *r
			}
		})
		if err != nil {
			return err
		}
	}
	add, replace := k.compare(have)
	remove := make([]kernelRoute, 0, len(have)) // what is left of them
	for _, r := range have {
		remove = append(remove, r)
	}
	replace, twins, err := k.withoutTwins(replace)
	if err != nil {
		return err
	}
	remove = append(remove, twins...)
	k.routes -= len(twins)

	if err := k.change("add route", add, func(m message, r *kernelRoute) message { return r.append(m, unix.NLM_F_EXCL) }); err != nil {
		return err
	}
	if err := k.change("change route", replace, func(m message, r *kernelRoute) message { return r.append(m, unix.NLM_F_REPLACE) }); err != nil {
		return err
	}
	if err := k.syncRules(); err != nil {
		return err
	}
	err = k.change("remove route", remove, func(m message, r *kernelRoute) message { return r.appendRemoval(m) })
	if k.refused > refusedMost {
		k.trouble = append(k.trouble, fmt.Sprintf("and %d more", k.refused-refusedMost))
	}
	return err
}

// compare sorts out what is to be added and replaced, and leaves in have what is to be removed.
func (k *kernelSync) compare(have map[kernelRouteKey]kernelRoute) (add, replace []kernelRoute) {
	if k.want.linux == nil {
		return nil, nil
	}
	k.routing.RLock()
	defer k.routing.RUnlock()
	for l := range k.want.linux.Routes() {
		r, ok := newKernelRoute(&l, k.want.ifindex)
		if !ok {
			k.portless++
			continue
		}
		k.routes++
		old, known := have[r.kernelRouteKey]
		delete(have, r.kernelRouteKey)
		switch {
		case !known:
			add = append(add, r)
		case !old.equal(&r):
			replace = append(replace, r)
		}
	}
	return add, replace
}

// withoutTwins sorts out the routes that cannot be replaced, since somebody else has another one of the same prefix, TOS,
// metric and table, which the kernel might take for the one that is meant.
func (k *kernelSync) withoutTwins(replace []kernelRoute) (kept, twins []kernelRoute, err error) {
	if len(replace) == 0 {
		return nil, nil, nil
	}
	type list struct {
		family uint8
		table  uint32
	}
	ours, lists := map[kernelRouteKey]bool{}, map[list]bool{}
	for i := range replace {
		r := &replace[i]
		ours[r.kernelRouteKey] = true
		lists[list{kernelFamily(r.prefix.Addr()), r.table}] = true
	}
	foreign := map[kernelRouteKey]bool{}
	for l := range lists {
		err := k.dumpRoutes(l.family, 0, l.table, func() {}, func(r *kernelRoute, protocol uint8) {
			if protocol != kernelProtocol && ours[r.kernelRouteKey] {
				foreign[r.kernelRouteKey] = true
			}
		})
		if err != nil {
			return nil, nil, err
		}
	}
	for _, r := range replace {
		if !foreign[r.kernelRouteKey] {
			kept = append(kept, r)
			continue
		}
		twins = append(twins, r)
		k.refuse(fmt.Sprintf("change route %v: somebody else has one beside it; weir's is removed", &r.kernelRouteKey))
	}
	return kept, twins, nil
}

func (k *kernelSync) refuse(what string) {
	if k.refused++; k.refused <= refusedMost {
		k.trouble = append(k.trouble, what)
	}
}

// change makes the requests about routes.
func (k *kernelSync) change(what string, list []kernelRoute, request func(message, *kernelRoute) message) error {
	refused, err := k.do(len(list), func(m message, i int) message { return request(m, &list[i]) })
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	k.changed += len(list) - len(refused)
	removes := what == "remove route"
	for _, r := range refused {
		if removes && errors.Is(r.errno, unix.ESRCH) { // gone by itself, as with its netdev
			continue
		}
		if !removes {
			k.routes--
		}
		why := r.Error()
		if errors.Is(r.errno, unix.EEXIST) {
			why = "somebody else's is there"
		}
		k.refuse(fmt.Sprintf("%s %v: %s", what, &list[r.index].kernelRouteKey, why))
	}
	return nil
}

// rulePlace is where the kernel keeps rules that only their order tells apart.
type rulePlace struct {
	family   uint8
	priority uint32
}

func placesOf(list []policy.LinuxRule) map[rulePlace][]policy.LinuxRule {
	places := map[rulePlace][]policy.LinuxRule{}
	for _, r := range list {
		p := rulePlace{r.Family, r.Priority}
		places[p] = append(places[p], r)
	}
	return places
}

// syncRules changes the rules priority by priority. Since a new rule comes behind the others of its priority, one whose rules
// change gets all the new ones, and then loses the old ones, which are the first.
func (k *kernelSync) syncRules() error {
	var want []policy.LinuxRule
	if k.want.linux != nil {
		want = k.want.linux.Rules
	}
	have, err := k.dumpRules()
	if err != nil {
		return err
	}
	old, next := placesOf(have), placesOf(want)
	var add []policy.LinuxRule
	var remove []rulePlace
	for _, r := range want {
		p := rulePlace{r.Family, r.Priority}
		rules, ok := next[p]
		if !ok { // done with the first of them
			continue
		}
		delete(next, p)
		was := old[p]
		delete(old, p)
		if len(was) <= len(rules) && slices.Equal(was, rules[:len(was)]) {
			add = append(add, rules[len(was):]...)
			continue
		}
		add = append(add, rules...)
		for range was {
			remove = append(remove, p)
		}
	}
	for _, r := range have { // in their order, for the same requests every time
		if p := (rulePlace{r.Family, r.Priority}); old[p] != nil {
			remove = append(remove, p)
		}
	}
	k.rules = len(want)
	if len(add)+len(remove) == 0 {
		return nil
	}
	refused, err := k.do(len(add), func(m message, i int) message { return appendRule(m, &add[i]) })
	if err != nil {
		return fmt.Errorf("add rule: %w", err)
	}
	k.changed += len(add) - len(refused)
	for _, r := range refused {
		k.rules--
		k.refuse(fmt.Sprintf("add rule %d: %v", add[r.index].Priority, r.Error()))
	}
	if err := k.removeRules(remove); err != nil {
		return err
	}
	return k.verify(want, len(refused) > 0)
}

func (k *kernelSync) removeRules(list []rulePlace) error {
	refused, err := k.do(len(list), func(m message, i int) message { return appendRuleRemoval(m, list[i].family, list[i].priority) })
	if err != nil {
		return fmt.Errorf("remove rule: %w", err)
	}
	k.changed += len(list) - len(refused)
	for _, r := range refused {
		k.refuse(fmt.Sprintf("remove rule %d: %v", list[r.index].priority, r.Error()))
	}
	return nil
}

// verify looks whether the kernel has the rules that it was given. One that is too old for an attribute overlooks it: its
// rule would match packets that it is not meant for, and goes again, with all of its priority.
func (k *kernelSync) verify(want []policy.LinuxRule, incomplete bool) error {
	have, err := k.dumpRules()
	if err != nil {
		return err
	}
	next := placesOf(want)
	var remove []rulePlace
	for p, rules := range placesOf(have) {
		meant := func(r policy.LinuxRule) bool { return slices.Contains(next[p], r) }
		if slices.Equal(rules, next[p]) || incomplete && !slices.ContainsFunc(rules, func(r policy.LinuxRule) bool { return !meant(r) }) {
			continue
		}
		k.refuse(fmt.Sprintf("rule %d: this kernel makes another one of it: left out", p.priority))
		for range rules {
			remove = append(remove, p)
		}
		k.rules -= len(rules)
	}
	return k.removeRules(remove)
}
