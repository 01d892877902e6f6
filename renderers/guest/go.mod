module towline.dev/renderers/guest

go 1.26.0
