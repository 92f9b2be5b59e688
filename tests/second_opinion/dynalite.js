// dynalite behind the Unix socket that is named; it prints a line when it listens.
const dynalite = require('dynalite')

dynalite({ createTableMs: 0, deleteTableMs: 0 }).listen(process.argv[2], () => console.log('Ready'))
