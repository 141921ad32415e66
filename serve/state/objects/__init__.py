"""The object store of pictures and drawings. May import what `serve.state` may. Begin with `objects`; `names` has the
names of objects, `stores` opens the store that the settings name.
"""
