// What pgJDBC does, one check per feature; prints a line of JSON for each. Arguments: URL, user, password.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.Arrays;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

public class PgJdbc {
    interface Check { boolean run(Connection connection) throws Exception; }

    static String[] arguments;

    static Connection connect() throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", arguments[1]);
        properties.setProperty("password", arguments[2]);
        // Named statements and binary results from the second execution on.
        properties.setProperty("prepareThreshold", "2");
        return DriverManager.getConnection(arguments[0], properties);
    }

    static void check(String name, Check check) {
        String error = null;
        try (Connection connection = connect()) {
            if (!check.run(connection)) error = "a wrong answer";
        } catch (Exception raised) {
            error = raised.toString().replaceAll("[^ -~]|[\"\\\\]", " ");
        }
        System.out.println("{\"name\": \"" + name + "\", \"error\": " + (error == null ? null : "\"" + error + "\"") + "}");
    }

    public static void main(String[] given) {
        arguments = given;
        check("prepared statements", connection -> {
            try (PreparedStatement statement = connection.prepareStatement("SELECT ?::int * 2, now()")) {
                for (int n = 0; n < 20; n++) {
                    statement.setInt(1, n);
                    try (ResultSet rows = statement.executeQuery()) {
                        rows.next();
                        if (rows.getInt(1) != 2 * n) return false;
                    }
                }
            }
            return true;
        });
        check("an error in a prepared statement", connection -> {
            try (PreparedStatement statement = connection.prepareStatement("SELECT 10 / ?::int")) {
                for (int n : new int[] {5, 2, 0, 5, 0, 1}) {
                    statement.setInt(1, n);
                    try (ResultSet rows = statement.executeQuery()) {
                        if (n == 0 || !rows.next() || rows.getInt(1) != 10 / n) return false;
                    } catch (SQLException error) {
                        if (n != 0 || !error.getSQLState().equals("22012")) throw error;
                    }
                }
            }
            return true;
        });
        check("batches", connection -> {
            connection.setAutoCommit(false);
            try (PreparedStatement statement = connection.prepareStatement("INSERT INTO notes (body) VALUES (?)")) {
                for (int n = 0; n < 500; n++) {
                    statement.setString(1, "batch " + n);
                    statement.addBatch();
                }
                int[] counts = statement.executeBatch();
                connection.rollback();
                return counts.length == 500 && Arrays.stream(counts).allMatch(count -> count == 1);
            }
        });
        check("savepoints", connection -> {
            connection.setAutoCommit(false);
            Savepoint savepoint = connection.setSavepoint();
            try (Statement statement = connection.createStatement()) {
                statement.execute("SELECT 1/0");
                return false;
            } catch (SQLException expected) {
                connection.rollback(savepoint);
            }
            try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("SELECT 1")) {
                return rows.next();
            } finally {
                connection.rollback();
            }
        });
        check("fetching by portions", connection -> {
            connection.setAutoCommit(false);
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(50);
                int count = 0;
                try (ResultSet rows = statement.executeQuery("SELECT generate_series(1, 1000)")) {
                    while (rows.next()) count++;
                }
                connection.commit();
                return count == 1000;
            }
        });
        check("copy", connection -> {
            connection.setAutoCommit(false);
            try (Statement statement = connection.createStatement()) {
                statement.execute("CREATE TEMPORARY TABLE jdbc_copy (line text) ON COMMIT DROP");
            }
            var copies = connection.unwrap(PGConnection.class).getCopyAPI();
            long in = copies.copyIn("COPY jdbc_copy FROM STDIN", new StringReader("a line\n".repeat(1000)));
            StringWriter lines = new StringWriter();
            copies.copyOut("COPY jdbc_copy TO STDOUT", lines);
            connection.commit();
            return in == 1000 && lines.toString().length() == 7000;
        });
        check("listen", connection -> {
            try (Statement statement = connection.createStatement()) {
                statement.execute("LISTEN jdbc_channel");
                try (Connection other = connect(); Statement loud = other.createStatement()) {
                    loud.execute("SELECT pg_notify('jdbc_channel', 'hello')");
                }
                PGNotification[] heard = connection.unwrap(PGConnection.class).getNotifications(10_000);
                return heard.length == 1 && heard[0].getParameter().equals("hello");
            }
        });
        check("cancel by query timeout", connection -> {
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(1);
                statement.execute("SELECT pg_sleep(20)");
                return false;
            } catch (SQLException error) {
                return error.getSQLState().equals("57014");
            }
        });
        check("metadata", connection -> {
            try (ResultSet rows = connection.getMetaData().getColumns(null, null, "notes", null)) {
                return rows.next();
            }
        });
    }
}
