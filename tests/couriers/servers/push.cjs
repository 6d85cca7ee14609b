// A push service that decrypts what it is given: web-push-testing, on the port that is named.
const { PushApiModel } = require('web-push-testing/src/PushApiModel.js');
const Server = require('web-push-testing/src/server.js');

new Server(new PushApiModel(), Number(process.argv[2])).startServer();
