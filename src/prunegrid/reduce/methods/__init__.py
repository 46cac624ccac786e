"""Reduction methods, one per file; conf/reducer/<name>.yaml puts each into the grid."""
