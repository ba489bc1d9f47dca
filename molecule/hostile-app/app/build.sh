# What the build runs; hostile branches have another one.
true
