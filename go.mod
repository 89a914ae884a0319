module letterbox

go 1.26
