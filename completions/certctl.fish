# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_certctl_global_optspecs
    string join \n c/config= state-dir= v/verbose q/quiet h/help V/version
end

function __fish_certctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_certctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_certctl_using_subcommand
    set -l cmd (__fish_certctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c certctl -n "__fish_certctl_needs_command" -s c -l config -d 'Read this config [default: /etc/certctl/certctl.toml; for other users than root $XDG_CONFIG_HOME/certctl/certctl.toml]' -r -F
complete -c certctl -n "__fish_certctl_needs_command" -l state-dir -d 'Keep state and certificates here [default: `state_dir` of the config, else $STATE_DIRECTORY, else /var/lib/certctl]' -r -F
complete -c certctl -n "__fish_certctl_needs_command" -s v -l verbose -d 'Say why and what is going on'
complete -c certctl -n "__fish_certctl_needs_command" -s q -l quiet -d 'Say only what failed'
complete -c certctl -n "__fish_certctl_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c certctl -n "__fish_certctl_needs_command" -s V -l version -d 'Print version'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "renew" -d 'Make every certificate of the config valid and deployed: the command for cron'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "issue" -d 'Issue one certificate by hand'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "plan" -d 'Show what `renew` would do now, and why'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "status" -d 'Show what there is, and what comes next'
complete -c certctl -n "__fish_certctl_needs_command" -f -a "config" -d 'Look at the config'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l force -d 'Renew this one although it is not due; may be given several times' -r
complete -c certctl -n "__fish_certctl_using_subcommand renew" -s c -l config -d 'Read this config [default: /etc/certctl/certctl.toml; for other users than root $XDG_CONFIG_HOME/certctl/certctl.toml]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l state-dir -d 'Keep state and certificates here [default: `state_dir` of the config, else $STATE_DIRECTORY, else /var/lib/certctl]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l dry-run -d 'Show what would be done and do nothing, like `plan`'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -l json -d 'Write the result as JSON to standard output'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -s v -l verbose -d 'Say why and what is going on'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -s q -l quiet -d 'Say only what failed'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand renew" -s V -l version -d 'Print version'
complete -c certctl -n "__fish_certctl_using_subcommand issue" -s d -l domain -d 'A domain or address of the certificate; may be given several times, the first one names it' -r
complete -c certctl -n "__fish_certctl_using_subcommand issue" -l webroot -d 'Answer http-01 with a file below this directory, which a web server shows' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand issue" -l ca -d 'Ask this CA: a preset, a [ca.…] table of the config, or a directory URL [default: the config\'s]' -r
complete -c certctl -n "__fish_certctl_using_subcommand issue" -l key-type -d 'Make a key of this type' -r -f -a "p256\t''
p384\t''
rsa2048\t''
rsa4096\t''"
complete -c certctl -n "__fish_certctl_using_subcommand issue" -l profile -d 'Ask for this profile of the CA\'s' -r
complete -c certctl -n "__fish_certctl_using_subcommand issue" -l name -d 'Call the certificate this [default: its first domain]' -r
complete -c certctl -n "__fish_certctl_using_subcommand issue" -s c -l config -d 'Read this config [default: /etc/certctl/certctl.toml; for other users than root $XDG_CONFIG_HOME/certctl/certctl.toml]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand issue" -l state-dir -d 'Keep state and certificates here [default: `state_dir` of the config, else $STATE_DIRECTORY, else /var/lib/certctl]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand issue" -l standalone -d 'Answer http-01 with a listener of certctl\'s own'
complete -c certctl -n "__fish_certctl_using_subcommand issue" -l save -d 'Write it to the conf directory first, so that `renew` keeps it valid'
complete -c certctl -n "__fish_certctl_using_subcommand issue" -s v -l verbose -d 'Say why and what is going on'
complete -c certctl -n "__fish_certctl_using_subcommand issue" -s q -l quiet -d 'Say only what failed'
complete -c certctl -n "__fish_certctl_using_subcommand issue" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand issue" -s V -l version -d 'Print version'
complete -c certctl -n "__fish_certctl_using_subcommand plan" -s c -l config -d 'Read this config [default: /etc/certctl/certctl.toml; for other users than root $XDG_CONFIG_HOME/certctl/certctl.toml]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand plan" -l state-dir -d 'Keep state and certificates here [default: `state_dir` of the config, else $STATE_DIRECTORY, else /var/lib/certctl]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand plan" -l json -d 'Write JSON'
complete -c certctl -n "__fish_certctl_using_subcommand plan" -s v -l verbose -d 'Say why and what is going on'
complete -c certctl -n "__fish_certctl_using_subcommand plan" -s q -l quiet -d 'Say only what failed'
complete -c certctl -n "__fish_certctl_using_subcommand plan" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand plan" -s V -l version -d 'Print version'
complete -c certctl -n "__fish_certctl_using_subcommand status" -s c -l config -d 'Read this config [default: /etc/certctl/certctl.toml; for other users than root $XDG_CONFIG_HOME/certctl/certctl.toml]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand status" -l state-dir -d 'Keep state and certificates here [default: `state_dir` of the config, else $STATE_DIRECTORY, else /var/lib/certctl]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand status" -l json -d 'Write JSON'
complete -c certctl -n "__fish_certctl_using_subcommand status" -s v -l verbose -d 'Say why and what is going on'
complete -c certctl -n "__fish_certctl_using_subcommand status" -s q -l quiet -d 'Say only what failed'
complete -c certctl -n "__fish_certctl_using_subcommand status" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand status" -s V -l version -d 'Print version'
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from check" -s c -l config -d 'Read this config [default: /etc/certctl/certctl.toml; for other users than root $XDG_CONFIG_HOME/certctl/certctl.toml]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from check" -l state-dir -d 'Keep state and certificates here [default: `state_dir` of the config, else $STATE_DIRECTORY, else /var/lib/certctl]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from check" -s v -l verbose -d 'Say why and what is going on'
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from check" -s q -l quiet -d 'Say only what failed'
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c certctl -n "__fish_certctl_using_subcommand config; and not __fish_seen_subcommand_from check" -f -a "check" -d 'Say "ok", or everything that is wrong with it'
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from check" -s c -l config -d 'Read this config [default: /etc/certctl/certctl.toml; for other users than root $XDG_CONFIG_HOME/certctl/certctl.toml]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from check" -l state-dir -d 'Keep state and certificates here [default: `state_dir` of the config, else $STATE_DIRECTORY, else /var/lib/certctl]' -r -F
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from check" -s v -l verbose -d 'Say why and what is going on'
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Say only what failed'
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c certctl -n "__fish_certctl_using_subcommand config; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
