from gateway import app

app.main()
