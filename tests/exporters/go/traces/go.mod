module traces

go 1.19
