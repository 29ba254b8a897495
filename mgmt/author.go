package mgmt

import "weir/mgmt/store"

// Author is who asks for something, and by which way he came.
type Author = store.Author
