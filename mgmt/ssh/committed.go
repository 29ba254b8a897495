package ssh

import "weir/mgmt"

func committed(engine *mgmt.Engine) (commits, reports []*file) { return nil, nil }
