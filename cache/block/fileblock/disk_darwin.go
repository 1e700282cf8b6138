package fileblock

import "os"

func resident(*os.File, int64) bool { return false }

func forget(*os.File) {}
