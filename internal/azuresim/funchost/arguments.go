package funchost

import "strings"

// splitArguments returns the arguments that a process gets for the arguments in host.json. The Functions host joins
// them with blanks and quotes nothing (github.com/Azure/azure-functions-host, DefaultWorkerProcessFactory.cs), and .NET
// splits the result again (github.com/dotnet/runtime, ParseArgumentsIntoList in Process.Unix.cs): at blanks and tabs
// outside double quotes. A backslash counts as such only before a double quote.
func splitArguments(arguments []string) (split []string) {
	line := strings.Join(arguments, " ")
	for i := 0; ; {
		for i < len(line) && isBlank(line[i]) {
			i++
		}
		if i == len(line) {
			return split
		}
		var argument string
		argument, i = nextArgument(line, i)
		split = append(split, argument)
	}
}

// nextArgument returns the argument that begins at line[i], and where it ends.
func nextArgument(line string, i int) (string, int) {
	var argument strings.Builder
	quoted := false
	for i < len(line) && (quoted || !isBlank(line[i])) {
		slashes := 0
		for i+slashes < len(line) && line[i+slashes] == '\\' {
			slashes++
		}
		i += slashes
		quote := i < len(line) && line[i] == '"'
		switch {
		case slashes > 0 && quote:
			argument.WriteString(strings.Repeat(`\`, slashes/2))
			if slashes%2 == 1 {
				argument.WriteByte('"')
				i++
			}
		case slashes > 0:
			argument.WriteString(strings.Repeat(`\`, slashes))
		case quote && quoted && strings.HasPrefix(line[i+1:], `"`):
			argument.WriteByte('"')
			i += 2
		case quote:
			quoted = !quoted
			i++
		default:
			argument.WriteByte(line[i])
			i++
		}
	}
	return argument.String(), i
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
