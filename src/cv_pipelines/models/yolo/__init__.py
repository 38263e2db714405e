"""You Only Look Once (Redmon et al. 2016 and after): all objects in one pass, from the cells of a grid."""
