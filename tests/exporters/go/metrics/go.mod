module metrics

go 1.19
