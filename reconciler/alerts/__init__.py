"""Alert rules for Prometheus, made from the settings. Connects to nothing and measures nothing: the audit does.

`rules` puts the file together, `burning` compares measured drop rates with the budget, `blindness` tells when nothing is
measured, `promql` has the few forms both are written in. No name from the settings stands in an expression: names are
values of labels, and expressions select by joining.
"""
