"""Whether one model is better than another: paired bootstrap over the samples that both were scored on."""
